#include "executor/runtime/program_check.h"

#include <algorithm>
#include <cmath>

#include "codegen/layout.h"
#include "executor/runtime/hazards.h"

namespace exo::runtime {
namespace {

using program::Buffer;
using program::Call;
using program::Collective;
using program::Operand;
using program::Program;
using program::Weight;
using Kind = OperandNeed::Kind;

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kMaxBytes = uint64_t{1} << 46;     // 64 TiB, of one thing and of all weights or caches together
constexpr uint64_t kMaxDimension = uint64_t{1} << 26;
constexpr uint64_t kMaxStepTokens = 1 << 20;
constexpr uint64_t kMaxRanks = 1024;

Status inRange(const char* what, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return {};
  return invalid(what, " must be in [", least, ", ", most, "], got ", value);
}

Status checkHeader(const Program& program) {
  EXO_TRY(inRange("world_size", program.world_size(), 1, kMaxRanks));
  EXO_TRY(inRange("rank", program.rank(), 0, program.world_size() - 1));
  EXO_TRY(inRange("max_tokens", program.max_tokens(), 1, kMaxStepTokens));
  EXO_TRY(inRange("max_rows", program.max_rows(), 1, program.max_tokens()));
  EXO_TRY(inRange("max_context", program.max_context(), 1, (uint64_t{1} << 31) - 1));
  EXO_TRY(inRange("page_tokens", program.page_tokens(), codegen::kPageTokens, codegen::kPageTokens));
  EXO_TRY(inRange("num_pages", program.num_pages(), 1, (uint64_t{1} << 31) - 1));
  EXO_TRY(inRange("vocab_size", program.vocab_size(), 1, kMaxDimension));
  return inRange("arena_bytes", program.arena_bytes(), 0, kMaxBytes);
}

/// The quantity of the step that an input is indexed by.
Result<program::Extent> inputExtent(const std::string& input) {
  if (input == "tokens" || input == "positions" || input == "sequence") return program::TOKENS;
  if (input == "rows") return program::ROWS;
  return invalid("unknown input \"", input, "\"; known are tokens, positions, sequence, rows");
}

Status checkInput(const Buffer& buffer) {
  EXO_ASSIGN(const program::Extent extent, inputExtent(buffer.input()));
  if (buffer.encoding() != program::I32 || buffer.rows() != extent || buffer.columns() != 1)
    return invalid("input \"", buffer.input(), "\" must be I32, rows ", program::Extent_Name(extent), ", columns 1");
  return {};
}

/// Four bytes an element and the padding of panels bound every encoding.
double weightBytesAbout(const Weight& weight) {
  return 4.0 * static_cast<double>(weight.slices_size()) * static_cast<double>(weight.rows() + 16) * static_cast<double>(weight.columns() + 64);
}

double cacheBytesAbout(const Program& program, const program::Cache& cache) {
  return 4.0 * 64.0 * static_cast<double>(program.num_pages()) * static_cast<double>(cache.kv_heads()) *
         static_cast<double>(cache.key_dim() + cache.value_dim() + 32);
}

Status checkBuffer(const Program& program, const Buffer& buffer, const ProgramFacts& facts) {
  if (!program::Encoding_IsValid(buffer.encoding()) || rowBytes(buffer.encoding(), 1) == 0)
    return invalid("encoding ", static_cast<int>(buffer.encoding()), " is not one of buffers");
  // No columns: of a rank without a share of a split.
  EXO_TRY(inRange("columns", buffer.columns(), 0, kMaxDimension));
  EXO_ASSIGN(const RowCount rows, rowCount(buffer.rows(), facts));
  uint64_t needed = 0;
  if (__builtin_mul_overflow(static_cast<uint64_t>(maxRows(program, rows)),
                             static_cast<uint64_t>(rowBytes(buffer.encoding(), static_cast<int64_t>(buffer.columns()))), &needed))
    return invalid(maxRows(program, rows), " rows of ", buffer.columns(), " columns are beyond any memory");
  if (buffer.size_bytes() < needed)
    return invalid("size_bytes must be at least ", needed, " (", maxRows(program, rows), " rows of ", buffer.columns(), " ",
                   program::Encoding_Name(buffer.encoding()), "), got ", buffer.size_bytes());
  if (buffer.offset_bytes() % kAlignment != 0)
    return invalid("offset_bytes must be a multiple of ", kAlignment, ", got ", buffer.offset_bytes());
  if (buffer.offset_bytes() > program.arena_bytes() || buffer.size_bytes() > program.arena_bytes() - buffer.offset_bytes())
    return invalid("bytes [", buffer.offset_bytes(), ", + ", buffer.size_bytes(), ") leave the arena of ", program.arena_bytes());
  return buffer.input().empty() ? Status{} : checkInput(buffer);
}

Status checkSlice(const Weight& weight, const program::TensorSlice& slice) {
  const uint64_t weight_rows = weight.layout() == Weight::VECTOR ? 1 : weight.rows();
  EXO_TRY(inRange("columns", slice.columns(), 1, kMaxDimension));
  EXO_TRY(inRange("rows", slice.rows(), 1, kMaxDimension));
  if (slice.row_begin() > slice.row_end() || slice.row_end() > slice.rows())
    return invalid("rows [", slice.row_begin(), ", ", slice.row_end(), ") leave the tensor's ", slice.rows());
  if (slice.column_begin() > slice.column_end() || slice.column_end() > slice.columns())
    return invalid("columns [", slice.column_begin(), ", ", slice.column_end(), ") leave the tensor's ", slice.columns());
  if (slice.row_end() - slice.row_begin() != weight_rows || slice.column_end() - slice.column_begin() != weight.columns())
    return invalid("the slice is ", slice.row_end() - slice.row_begin(), " x ", slice.column_end() - slice.column_begin(),
                   ", the weight ", weight_rows, " x ", weight.columns());
  return {};
}

Status checkWeight(const Weight& weight) {
  EXO_TRY(inRange("columns", weight.columns(), 0, kMaxDimension));
  if (weight.layout() == Weight::VECTOR) {
    EXO_TRY(inRange("rows of a vector", weight.rows(), 0, 1));
    if (weight.encoding() != program::F32)
      return invalid("a VECTOR must be F32, got ", program::Encoding_Name(weight.encoding()), " (", static_cast<int>(weight.encoding()), ")");
    EXO_TRY(inRange("slices", weight.slices_size(), 1, 1 << 16));
  } else if (weight.layout() == Weight::PANELS) {
    EXO_TRY(inRange("rows", weight.rows(), 0, kMaxDimension));
    EXO_TRY(inRange("slices", weight.slices_size(), 1, 1 << 16));
    if (!program::Encoding_IsValid(weight.encoding()) || weight.encoding() == program::I32 || weight.encoding() == program::X8)
      return invalid("encoding ", static_cast<int>(weight.encoding()), " is not one of weights");
  } else {
    return invalid("unknown layout ", static_cast<int>(weight.layout()));
  }
  const double bytes = weightBytesAbout(weight);
  if (bytes > static_cast<double>(kMaxBytes)) return invalid("about ", bytes, " bytes are more than the ", kMaxBytes, " allowed");
  for (int i = 0; i < weight.slices_size(); ++i) {
    Status status = checkSlice(weight, weight.slices(i));
    if (!status.ok()) return std::move(status).error().note("in slice " + std::to_string(i) + " of \"" + weight.slices(i).tensor() + "\"");
  }
  return {};
}

Status checkCache(const Program& program, const program::Cache& cache) {
  if (cache.encoding() != program::F32 && cache.encoding() != program::F16)
    return invalid("a KV cache is F32 or F16, got ", static_cast<int>(cache.encoding()));
  EXO_TRY(inRange("kv_heads", cache.kv_heads(), 0, 1 << 16));
  EXO_TRY(inRange("key_dim", cache.key_dim(), 1, 1 << 16));
  EXO_TRY(inRange("value_dim", cache.value_dim(), 0, 1 << 16));
  const double bytes = cacheBytesAbout(program, cache);
  if (bytes > static_cast<double>(kMaxBytes)) return invalid("about ", bytes, " bytes are more than the ", kMaxBytes, " allowed");
  return {};
}

// --- calls ---

Status checkMembers(const Program& program, const Collective& collective) {
  if (collective.ranks_size() < 2) return invalid("needs at least 2 ranks, got ", collective.ranks_size());
  bool member = false;
  for (int i = 0; i < collective.ranks_size(); ++i) {
    if (collective.ranks(i) >= program.world_size())
      return invalid("rank ", collective.ranks(i), " is outside the ", program.world_size(), " of the job");
    if (i > 0 && collective.ranks(i) <= collective.ranks(i - 1)) return invalid("ranks must ascend");
    member |= collective.ranks(i) == program.rank();
  }
  if (!member) return invalid("this rank, ", program.rank(), ", is not among the members");
  return {};
}

Status checkPeers(const Program& program, const Collective& collective) {
  const bool receive = collective.op() == Collective::RECV;
  if (collective.peers_size() < 1 || (receive && collective.peers_size() != 1))
    return invalid("needs ", receive ? "exactly one peer" : "at least one peer", ", got ", collective.peers_size());
  for (int i = 0; i < collective.peers_size(); ++i) {
    if (collective.peers(i) >= program.world_size() || collective.peers(i) == program.rank())
      return invalid("peer ", collective.peers(i), " is not another of the ", program.world_size(), " ranks");
    for (int j = 0; j < i; ++j)
      if (collective.peers(i) == collective.peers(j)) return invalid("peer ", collective.peers(i), " twice");
  }
  return {};
}

/// The shape of buffer operand `index` of a call, with the call's rows.
Result<OperandNeed> likeBuffer(const Program& program, const google::protobuf::RepeatedPtrField<Operand>& operands, int index,
                               const char* name, RowCount rows) {
  if (index >= operands.size() || operands[index].kind_case() != Operand::kBuffer ||
      operands[index].buffer() >= static_cast<uint32_t>(program.buffers_size()))
    return invalid("operand ", name, " must be a buffer of the program");
  const Buffer& buffer = program.buffers(static_cast<int>(operands[index].buffer()));
  return OperandNeed{.name = name, .kind = Kind::kBuffer, .encoding = buffer.encoding(), .rows = rows,
                     .columns = static_cast<int64_t>(buffer.columns()), .access = Access::kAny};
}

OperandNeed withShape(OperandNeed need, const char* name, program::Encoding encoding, int64_t columns) {
  need.name = name;
  need.encoding = encoding;
  need.columns = columns;
  return need;
}

Result<CallNeeds> allGatherNeeds(const Program& program, const Collective& collective, OperandNeed in) {
  if (collective.extents_size() != collective.ranks_size())
    return invalid("extents must be one per rank, ", collective.ranks_size(), ", got ", collective.extents_size());
  int64_t sum = 0, mine = 0;
  for (int i = 0; i < collective.extents_size(); ++i) {
    EXO_TRY(inRange("extent", collective.extents(i), 0, kMaxDimension));
    sum += static_cast<int64_t>(collective.extents(i));
    if (collective.ranks(i) == program.rank()) mine = static_cast<int64_t>(collective.extents(i));
  }
  return CallNeeds{{withShape(in, "in", program::F32, mine)}, {withShape(in, "out", program::F32, sum)}, Unit::kOwn};
}

Result<CallNeeds> collectiveNeeds(const Program& program, const Call& call, RowCount rows) {
  const Collective& collective = call.collective();
  switch (collective.op()) {
    case Collective::SEND: {
      EXO_TRY(checkPeers(program, collective));
      EXO_ASSIGN(OperandNeed in, likeBuffer(program, call.in(), 0, "in", rows));
      return CallNeeds{{in}, {}, Unit::kOwn};
    }
    case Collective::RECV: {
      EXO_TRY(checkPeers(program, collective));
      EXO_ASSIGN(OperandNeed out, likeBuffer(program, call.out(), 0, "out", rows));
      return CallNeeds{{}, {out}, Unit::kOwn};
    }
    case Collective::ALL_REDUCE:
    case Collective::ALL_GATHER:
    case Collective::TOP_K_MERGE: break;
    default: return invalid("unknown collective ", static_cast<int>(collective.op()));
  }
  EXO_TRY(checkMembers(program, collective));
  EXO_ASSIGN(OperandNeed in, likeBuffer(program, call.in(), 0, "in", rows));
  if (collective.op() == Collective::ALL_GATHER) return allGatherNeeds(program, collective, in);
  const OperandNeed values = withShape(in, "values", program::F32, in.columns), ids = withShape(in, "ids", program::I32, in.columns);
  if (collective.op() == Collective::TOP_K_MERGE) return CallNeeds{{values, ids}, {values, ids}, Unit::kOwn};
  return CallNeeds{{values}, {values}, Unit::kOwn};
}

std::string describe(const OperandNeed& need) {
  return program::Encoding_Name(need.encoding) + "[" + toString(need.rows) + ", " + std::to_string(need.columns) + "]";
}

Status checkBufferOperand(const Program& program, const ProgramFacts& facts, const OperandNeed& need, uint32_t index) {
  if (index >= static_cast<uint32_t>(program.buffers_size()))
    return invalid("buffer ", index, " of ", program.buffers_size());
  const Buffer& buffer = program.buffers(static_cast<int>(index));
  EXO_ASSIGN(const RowCount rows, rowCount(buffer.rows(), facts));
  const int64_t columns = static_cast<int64_t>(buffer.columns());
  // [T, k] and [T x k, 1] are the same bytes, except where rows are padded.
  const bool same_elements = need.encoding == program::X8 ? rows == need.rows && columns == need.columns
                                                          : rows.base == need.rows.base && rows.factor * columns == need.rows.factor * need.columns;
  if (buffer.encoding() == need.encoding && same_elements) return {};
  return invalid("must be ", describe(need), ", but buffer \"", buffer.name(), "\" is ", program::Encoding_Name(buffer.encoding()),
                 "[", toString(rows), ", ", columns, "]");
}

Status checkWeightOperand(const Program& program, const OperandNeed& need, uint32_t index) {
  if (index >= static_cast<uint32_t>(program.weights_size()))
    return invalid("weight ", index, " of ", program.weights_size());
  const Weight& weight = program.weights(static_cast<int>(index));
  const bool panels = need.kind == Kind::kPanels;
  const bool fits = panels ? weight.layout() == Weight::PANELS && weight.encoding() == need.encoding &&
                                 weight.rows() == static_cast<uint64_t>(need.weight_rows) && weight.slices_size() == need.stack
                           : weight.layout() == Weight::VECTOR && weight.slices_size() == need.stack;
  if (fits && weight.columns() == static_cast<uint64_t>(need.columns)) return {};
  return invalid("must be ", need.stack, panels ? " x PANELS " + program::Encoding_Name(need.encoding) + "[" + std::to_string(need.weight_rows) + ", "
                                                : std::string(" x VECTOR F32["),
                 need.columns, "], but weight \"", weight.name(), "\" is ", weight.slices_size(), " x ",
                 Weight::Layout_Name(weight.layout()), " ", program::Encoding_Name(weight.encoding()), "[", weight.rows(), ", ",
                 weight.columns(), "]");
}

Status checkCacheOperand(const Program& program, const Call& call, uint32_t index) {
  if (index >= static_cast<uint32_t>(program.caches_size()))
    return invalid("cache ", index, " of ", program.caches_size());
  const program::Cache& cache = program.caches(static_cast<int>(index));
  const program::Kernel& kernel = program.kernels(static_cast<int>(call.kernel()));
  const uint64_t value_dim = kernel.value_dim() > 0 ? 0 : kernel.head_dim();  // values of their own
  if (cache.encoding() == kernel.cache() && cache.kv_heads() == kernel.kv_heads() && cache.key_dim() == kernel.head_dim() && cache.value_dim() == value_dim)
    return {};
  return invalid("must be ", program::Encoding_Name(kernel.cache()), " of ", kernel.kv_heads(), " KV heads of ", kernel.head_dim(),
                 ", but cache \"", cache.name(), "\" is ", program::Encoding_Name(cache.encoding()), " of ", cache.kv_heads(),
                 " KV heads of ", cache.key_dim(), " and ", cache.value_dim());
}

Status checkOperand(const Program& program, const ProgramFacts& facts, const Call& call, const OperandNeed& need, const Operand& operand) {
  switch (need.kind) {
    case Kind::kBuffer:
      if (operand.kind_case() == Operand::kBuffer) return checkBufferOperand(program, facts, need, operand.buffer());
      return invalid("must be a buffer");
    case Kind::kPanels:
    case Kind::kVector:
      if (operand.kind_case() == Operand::kWeight) return checkWeightOperand(program, need, operand.weight());
      return invalid("must be a weight");
    case Kind::kCache:
      if (operand.kind_case() == Operand::kCache) return checkCacheOperand(program, call, operand.cache());
      return invalid("must be a cache");
  }
  return {};
}

Status checkOperands(const Program& program, const ProgramFacts& facts, const Call& call, const std::vector<OperandNeed>& needs,
                     const google::protobuf::RepeatedPtrField<Operand>& operands, const char* side) {
  if (static_cast<size_t>(operands.size()) != needs.size())
    return invalid("takes ", needs.size(), " operands in `", side, "`, got ", operands.size());
  for (size_t i = 0; i < needs.size(); ++i) {
    Status status = checkOperand(program, facts, call, needs[i], operands[static_cast<int>(i)]);
    if (!status.ok()) return std::move(status).error().note("operand " + std::string(side) + "[" + std::to_string(i) + "], " + needs[i].name);
  }
  return {};
}

Status checkCall(const Program& program, const ProgramFacts& facts, const Call& call) {
  EXO_ASSIGN(const CallNeeds needs, callNeeds(program, call, facts));
  EXO_TRY(checkOperands(program, facts, call, needs.in, call.in(), "in"));
  return checkOperands(program, facts, call, needs.out, call.out(), "out");
}

Status checkOutput(const Program& program, const char* what, uint32_t index, program::Encoding encoding) {
  if (index >= static_cast<uint32_t>(program.buffers_size()))
    return invalid(what, ": buffer ", index, " of ", program.buffers_size());
  const Buffer& buffer = program.buffers(static_cast<int>(index));
  if (buffer.encoding() == encoding && buffer.rows() == program::ROWS) return {};
  return invalid(what, ": must be ", program::Encoding_Name(encoding), " with ROWS rows, but buffer \"", buffer.name(), "\" is ",
                 program::Encoding_Name(buffer.encoding()), " with ", program::Extent_Name(buffer.rows()));
}

Status checkOutputs(const Program& program) {
  if (program.has_output_values() != program.has_output_ids()) return invalid("output_values and output_ids come together");
  if (program.has_output_values()) {
    EXO_TRY(checkOutput(program, "output_values", program.output_values(), program::F32));
    EXO_TRY(checkOutput(program, "output_ids", program.output_ids(), program::I32));
    const uint64_t values = program.buffers(static_cast<int>(program.output_values())).columns();
    const uint64_t ids = program.buffers(static_cast<int>(program.output_ids())).columns();
    if (values != ids) return invalid("output_values has ", values, " columns, output_ids ", ids);
  }
  if (!program.has_logits()) return {};
  EXO_TRY(checkOutput(program, "logits", program.logits(), program::F32));
  const uint64_t columns = program.buffers(static_cast<int>(program.logits())).columns();
  if (columns > program.vocab_size() || program.logits_begin() > program.vocab_size() - columns)
    return invalid("logits [", program.logits_begin(), ", + ", columns, ") leave the vocabulary of ", program.vocab_size());
  return {};
}

template <class Items, class Check>
Status forEach(const char* what, const Items& items, Check&& check) {
  for (int i = 0; i < items.size(); ++i) {
    Status status = check(items[i]);
    if (status.ok()) continue;
    return std::move(status).error().note(std::string("in ") + what + " " + std::to_string(i) + " \"" + items[i].name() + "\"");
  }
  return {};
}

/// Each weight and cache is within bounds by itself; many of them must not wrap around.
Status checkSums(const Program& program) {
  double weights = 0, caches = 0;
  for (const Weight& weight : program.weights()) weights += weightBytesAbout(weight);
  for (const program::Cache& cache : program.caches()) caches += cacheBytesAbout(program, cache);
  const double most = static_cast<double>(kMaxBytes);
  if (weights > most || caches > most) return invalid("weights of about ", weights, " and caches of about ", caches, " bytes are more than the ", kMaxBytes, " allowed");
  return {};
}

Status checkReduce(const Program& program, const program::ReduceChoice& choice) {
  for (int i = 0; i < choice.ranks_size(); ++i) {
    if (choice.ranks(i) >= program.world_size()) return invalid("rank ", choice.ranks(i), " is outside the ", program.world_size(), " of the job");
    if (i > 0 && choice.ranks(i) <= choice.ranks(i - 1)) return invalid("ranks must ascend");
  }
  if (choice.steps_size() == 0 || choice.steps().rbegin()->has_up_to_bytes()) return invalid("the last step must have no limit");
  for (int i = 0; i < choice.steps_size(); ++i) {
    const auto& step = choice.steps(i);
    if (!program::ReduceChoice::Algorithm_IsValid(step.algorithm())) return invalid("unknown algorithm ", static_cast<int>(step.algorithm()));
    if (i + 1 == choice.steps_size()) break;
    if (!step.has_up_to_bytes() || (i > 0 && step.up_to_bytes() <= choice.steps(i - 1).up_to_bytes())) return invalid("limits of steps must ascend");
  }
  return {};
}

Status checkParts(const Program& program) {
  EXO_TRY(checkHeader(program));
  for (int i = 0; i < program.kernels_size(); ++i) {
    Status status = checkKernel(program.kernels(i));
    if (!status.ok()) return std::move(status).error().note("in kernel " + std::to_string(i));
  }
  EXO_ASSIGN(const ProgramFacts facts, factsOf(program));
  EXO_TRY(forEach("buffer", program.buffers(), [&](const Buffer& buffer) { return checkBuffer(program, buffer, facts); }));
  EXO_TRY(forEach("weight", program.weights(), [&](const Weight& weight) { return checkWeight(weight); }));
  EXO_TRY(forEach("cache", program.caches(), [&](const program::Cache& cache) { return checkCache(program, cache); }));
  EXO_TRY(checkSums(program));
  for (int i = 0; i < program.reduces_size(); ++i) {
    Status status = checkReduce(program, program.reduces(i));
    if (!status.ok()) return std::move(status).error().note("in choice " + std::to_string(i) + " of all_reduce's algorithm");
  }
  EXO_TRY(forEach("call", program.calls(), [&](const Call& call) { return checkCall(program, facts, call); }));
  EXO_TRY(checkOutputs(program));
  EXO_ASSIGN(const std::vector<Region> regions, regionsOf(program, facts));
  return checkHazards(program, facts, regions);
}

}  // namespace

int64_t rowBytes(program::Encoding encoding, int64_t columns) {
  switch (encoding) {
    case program::F32:
    case program::I32:
    case program::BF16:
    case program::F16:
    case program::X8: return codegen::activationRowBytes(encoding, columns);
    default: return 0;
  }
}

int64_t maxRows(const Program& program, const RowCount& rows) {
  const uint64_t base = rows.base == program::TOKENS ? program.max_tokens() : rows.base == program::ROWS ? program.max_rows() : 1;
  return static_cast<int64_t>(base) * rows.factor;
}

uint64_t weightBytes(const Weight& weight) {
  const int64_t columns = static_cast<int64_t>(weight.columns());
  const int64_t bytes = weight.layout() == Weight::VECTOR
                            ? columns * 4 * weight.slices_size()
                            : codegen::packedBytes(weight.encoding(), static_cast<int64_t>(weight.rows()), columns) * weight.slices_size();
  return (static_cast<uint64_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
}

Result<CallNeeds> callNeeds(const Program& program, const Call& call, const ProgramFacts& facts) {
  EXO_ASSIGN(const RowCount rows, rowCount(call.rows(), facts));
  if (call.has_collective()) return collectiveNeeds(program, call, rows);
  if (!call.has_kernel()) return invalid("is neither a kernel nor a collective");
  if (call.kernel() >= static_cast<uint32_t>(program.kernels_size()))
    return invalid("kernel ", call.kernel(), " of ", program.kernels_size());
  return kernelNeeds(program.kernels(static_cast<int>(call.kernel())), rows);
}

Status checkProgram(const Program& program) {
  Status status = checkParts(program);
  if (status.ok()) return status;
  return std::move(status).error().note("in the program of rank " + std::to_string(program.rank()) + " for \"" + program.model() + "\"");
}

}  // namespace exo::runtime
