#include "executor/runtime/step_message.h"

#include <bit>
#include <cstring>

namespace exo::runtime {
namespace {

static_assert(std::endian::native == std::endian::little, "step messages are written as they lie in memory");
static_assert(sizeof(StepMessageHeader) == 40, "no holes");

constexpr uint32_t kMagic = 0x736f7865;   // "exos"
constexpr uint32_t kVersion = 1;

void append(std::vector<std::byte>& bytes, std::span<const int32_t> values) {
  const auto raw = std::as_bytes(values);
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

uint64_t numbersIn(const StepMessageHeader& header) {
  return uint64_t{3} * header.tokens + header.sequences + 1 + uint64_t{header.sequences} * header.page_table_stride + header.rows;
}

Error notAMessage(std::string why) { return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "step message: ", why); }

StepInput viewInput(const StepMessageHeader& header, const std::byte* payload) {
  const int32_t* next = reinterpret_cast<const int32_t*>(payload);
  const auto take = [&](uint64_t count) {
    const std::span<const int32_t> values(next, count);
    next += count;
    return values;
  };
  StepInput input;
  input.tokens = take(header.tokens);
  input.positions = take(header.tokens);
  input.sequence = take(header.tokens);
  input.sequence_begin = take(uint64_t{header.sequences} + 1);
  input.page_table = take(uint64_t{header.sequences} * header.page_table_stride);
  input.page_table_stride = header.page_table_stride;
  input.rows = take(header.rows);
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
  }
  bytes.resize(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (message.kind != StepKind::kStep) return;
  for (const auto& values : {input.tokens, input.positions, input.sequence, input.sequence_begin, input.page_table, input.rows})
    append(bytes, values);
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
  const uint64_t expected = sizeof(header) + 4 * numbersIn(header);
  if (bytes.size() != expected) return notAMessage("must be " + std::to_string(expected) + " bytes, got " + std::to_string(bytes.size()));
  message.input = viewInput(header, bytes.data() + sizeof(header));
  Status status = validate(message.input, limits);
  if (!status.ok()) return std::move(status).error().note("in a step message");
  return message;
}

uint64_t maxStepMessageBytes(const StepLimits& limits) {
  const uint64_t stride = static_cast<uint64_t>((limits.max_context + limits.page_tokens - 1) / limits.page_tokens);
  const uint64_t tokens = static_cast<uint64_t>(limits.max_tokens);
  return sizeof(StepMessageHeader) + 4 * (4 * tokens + 1 + tokens * stride + static_cast<uint64_t>(limits.max_rows));
}

}  // namespace exo::runtime
