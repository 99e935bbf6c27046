#include "executor/runtime/step_message.h"

#include <bit>
#include <cstring>

namespace exo::runtime {
namespace {

static_assert(std::endian::native == std::endian::little, "step messages are written as they lie in memory");
static_assert(sizeof(StepMessageHeader) == 56, "no holes");

constexpr uint32_t kMagic = 0x736f7865;   // "exos"
constexpr uint32_t kVersion = 2;

template <class T>
void append(std::vector<std::byte>& bytes, std::span<const T> values) {
  const auto raw = std::as_bytes(values);
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

uint64_t payloadBytes(const StepMessageHeader& header) {
  const uint64_t numbers = uint64_t{3} * header.tokens + header.sequences + 1 + uint64_t{header.sequences} * header.page_table_stride + header.rows;
  return sizeof(codegen::RowControl) * uint64_t{header.controlled_rows} + 4 * numbers + sizeof(codegen::LogitEdit) * uint64_t{header.edits} +
         4 * uint64_t{header.mask_words};
}

Error notAMessage(std::string why) { return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "step message: ", why); }

StepInput viewInput(const StepMessageHeader& header, const std::byte* payload) {
  const auto takeAs = [&]<class T>(const T*, uint64_t count) {
    const std::span<const T> values(reinterpret_cast<const T*>(payload), count);
    payload += values.size_bytes();
    return values;
  };
  const auto take = [&](uint64_t count) { return takeAs(static_cast<const int32_t*>(nullptr), count); };
  StepInput input;
  input.controls.rows = takeAs(static_cast<const codegen::RowControl*>(nullptr), header.controlled_rows);
  input.tokens = take(header.tokens);
  input.positions = take(header.tokens);
  input.sequence = take(header.tokens);
  input.sequence_begin = take(uint64_t{header.sequences} + 1);
  input.page_table = take(uint64_t{header.sequences} * header.page_table_stride);
  input.page_table_stride = header.page_table_stride;
  input.rows = take(header.rows);
  input.controls.edits = takeAs(static_cast<const codegen::LogitEdit*>(nullptr), header.edits);
  input.controls.masks = takeAs(static_cast<const uint32_t*>(nullptr), header.mask_words);
  return input;
}

}  // namespace

void encode(const StepMessage& message, std::vector<std::byte>& bytes) {
  StepMessageHeader header{.magic = kMagic, .version = kVersion, .kind = message.kind, .gather = message.gather, .number = message.number};
  const StepInput& input = message.input;
  if (message.kind == StepKind::kStep) {
    header.tokens = static_cast<uint32_t>(input.numTokens());
    header.sequences = static_cast<uint32_t>(input.numSequences());
    header.rows = static_cast<uint32_t>(input.numRows());
    header.page_table_stride = static_cast<uint32_t>(input.page_table_stride);
    header.controlled_rows = static_cast<uint32_t>(input.controls.rows.size());
    header.edits = static_cast<uint32_t>(input.controls.edits.size());
    header.mask_words = static_cast<uint32_t>(input.controls.masks.size());
  }
  bytes.resize(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (message.kind != StepKind::kStep) return;
  append(bytes, input.controls.rows);
  for (const auto& values : {input.tokens, input.positions, input.sequence, input.sequence_begin, input.page_table, input.rows})
    append(bytes, values);
  append(bytes, input.controls.edits);
  append(bytes, input.controls.masks);
}

Result<StepMessage> decode(std::span<const std::byte> bytes, const StepLimits& limits) {
  StepMessageHeader header;
  if (bytes.size() < sizeof(header)) return notAMessage("only " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != kMagic) return notAMessage("the bytes are something else");
  if (header.version != kVersion)
    return notAMessage("version must be " + std::to_string(kVersion) + ", got " + std::to_string(header.version) +
                       "; all nodes must run the same release");
  if (header.gather != GatherLogits::kNo && header.gather != GatherLogits::kToRankZero) return notAMessage("unknown flags");
  StepMessage message{.kind = header.kind, .gather = header.gather, .number = header.number};
  if (header.kind == StepKind::kStop) {
    if (bytes.size() != sizeof(header)) return notAMessage("bytes behind a stop");
    return message;
  }
  if (header.kind != StepKind::kStep) return notAMessage("unknown kind " + std::to_string(static_cast<uint32_t>(header.kind)));
  const uint64_t expected = sizeof(header) + payloadBytes(header);
  if (bytes.size() != expected) return notAMessage("must be " + std::to_string(expected) + " bytes, got " + std::to_string(bytes.size()));
  message.input = viewInput(header, bytes.data() + sizeof(header));
  Status status = validate(message.input, limits);
  if (!status.ok()) return std::move(status).error().note("in a step message");
  return message;
}

uint64_t maxStepMessageBytes(const StepLimits& limits) {
  const uint64_t stride = static_cast<uint64_t>((limits.max_context + limits.page_tokens - 1) / limits.page_tokens);
  const uint64_t tokens = static_cast<uint64_t>(limits.max_tokens);
  const uint64_t rows = static_cast<uint64_t>(limits.max_rows), vocabulary = static_cast<uint64_t>(limits.vocab_size);
  const uint64_t control = sizeof(codegen::RowControl) + vocabulary * sizeof(codegen::LogitEdit) + 4 * static_cast<uint64_t>(codegen::maskWords(limits.vocab_size));
  return sizeof(StepMessageHeader) + 4 * (4 * tokens + 1 + tokens * stride + rows) + rows * control;
}

}  // namespace exo::runtime
