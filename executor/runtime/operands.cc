// M rows of the call; n, k of the kernel.
#include "executor/runtime/operands.h"

#include <cmath>

#include "codegen/kernel.h"
#include "codegen/layout.h"

namespace exo::runtime {
namespace {

using program::Kernel;
using Kind = OperandNeed::Kind;

// Beyond any model, small enough that products of two stay far from 2^63.
constexpr uint64_t kMaxDimension = uint64_t{1} << 26;
constexpr uint64_t kMaxExperts = 1 << 16;

OperandNeed buffer(const char* name, program::Encoding encoding, RowCount rows, uint64_t columns,
                   Access access = Access::kSame, Origin origin = Origin::kAny) {
  return {.name = name, .kind = Kind::kBuffer, .encoding = encoding, .rows = rows,
          .columns = static_cast<int64_t>(columns), .access = access, .origin = origin};
}
OperandNeed f32(const char* name, RowCount rows, uint64_t columns, Access access = Access::kSame) {
  return buffer(name, program::F32, rows, columns, access);
}
OperandNeed vector(const char* name, uint64_t columns, uint64_t stack = 1) {
  return {.name = name, .kind = Kind::kVector, .columns = static_cast<int64_t>(columns), .stack = static_cast<int64_t>(stack)};
}
OperandNeed panels(const Kernel& kernel, uint64_t stack = 1) {
  return {.name = "weight", .kind = Kind::kPanels, .encoding = kernel.weight(), .columns = static_cast<int64_t>(kernel.k()),
          .weight_rows = static_cast<int64_t>(kernel.n()), .stack = static_cast<int64_t>(stack)};
}
OperandNeed cache() { return {.name = "cache", .kind = Kind::kCache}; }

RowCount times(RowCount rows, uint64_t factor) { return {rows.base, rows.factor * static_cast<int64_t>(factor)}; }

Status requireTokens(const Kernel& kernel, RowCount rows) {
  if (rows == RowCount{program::TOKENS, 1}) return {};
  return invalid(Kernel::Op_Name(kernel.op()), " uses the step's positions, so its rows must be TOKENS, got ", toString(rows));
}

/// Rows of pairs: the call's rows are tokens times experts per token.
Status requirePairs(const Kernel& kernel, RowCount rows) {
  if (rows.base == program::TOKENS && rows.factor == static_cast<int64_t>(kernel.top_k())) return {};
  return invalid(Kernel::Op_Name(kernel.op()), " with top_k ", kernel.top_k(), " needs EXPERT_ROWS, got ", toString(rows));
}

bool isExpertOp(Kernel::Op op) {
  return op == Kernel::ROUTER_TOP_K || op == Kernel::EXPERT_DISPATCH || op == Kernel::EXPERT_GATHER ||
         op == Kernel::EXPERT_MATMUL || op == Kernel::WEIGHTED_SUM || op == Kernel::EXPERT_BIAS_ADD || op == Kernel::EXPERT_BIAS_SUM;
}

Status inRange(const char* what, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return {};
  return invalid(what, " must be in [", least, ", ", most, "], got ", value);
}

Status checkHeads(const Kernel& kernel, const char* what, uint64_t heads) {
  EXO_TRY(inRange(what, heads, 1, kMaxDimension));
  EXO_TRY(inRange("head_dim", kernel.head_dim(), 1, kMaxDimension));
  return inRange("heads x head_dim", heads * kernel.head_dim(), 1, kMaxDimension);
}

Status checkEpsilon(const Kernel& kernel) {
  if (std::isfinite(kernel.epsilon()) && kernel.epsilon() >= 0) return {};
  return invalid("epsilon must be finite and not negative, got ", kernel.epsilon());
}

Status checkWeightEncoding(const Kernel& kernel) {
  const program::Encoding weight = kernel.weight();
  if (weight == program::I32 || weight == program::X8 || !program::Encoding_IsValid(weight))
    return invalid("weight encoding ", program::Encoding_Name(weight), " (", static_cast<int>(weight), ") is not one of weights");
  if (kernel.op() == Kernel::EMBED) return {};
  const bool quantised = weight == program::Q8 || weight == program::Q4;
  if (kernel.input() == (quantised ? program::X8 : program::F32)) return {};
  return invalid("weights in ", program::Encoding_Name(weight), " take input in ", quantised ? "X8" : "F32", ", got ",
                 program::Encoding_Name(kernel.input()));
}

Status checkCacheEncoding(const Kernel& kernel) {
  if (kernel.cache() == program::F32 || kernel.cache() == program::F16) return {};
  return invalid("a KV cache is F32 or F16, got ", program::Encoding_Name(kernel.cache()), " (", static_cast<int>(kernel.cache()), ")");
}

Status checkRope(const Kernel& kernel) {
  EXO_TRY(checkHeads(kernel, "heads", kernel.heads()));
  const uint64_t rotary = kernel.rotary_dim();
  if (rotary == 0 || rotary % 2 != 0 || rotary > kernel.head_dim())
    return invalid("rotary_dim must be even and in [2, head_dim = ", kernel.head_dim(), "], got ", rotary);
  if (kernel.rotary_begin() > kernel.head_dim() - rotary)
    return invalid("rotary_begin must be at most head_dim - rotary_dim = ", kernel.head_dim() - rotary, ", got ", kernel.rotary_begin());
  if (static_cast<uint64_t>(kernel.rope_frequencies_size()) != rotary / 2)
    return invalid("rope_frequencies must be ", rotary / 2, " (rotary_dim / 2), got ", kernel.rope_frequencies_size());
  return {};
}

/// Of KV_APPEND and ATTENTION over a cache of keys that hold the values.
Status checkLatent(const Kernel& kernel) {
  if (kernel.value_dim() == 0) return {};
  EXO_TRY(inRange("value_dim", kernel.value_dim(), 0, kernel.head_dim()));
  return inRange("kv_heads with value_dim", kernel.kv_heads(), 1, 1);
}

Status checkHeadMatMul(const Kernel& kernel) {
  EXO_TRY(checkHeads(kernel, "heads", kernel.heads()));
  EXO_TRY(inRange("n", kernel.n(), 1, kMaxDimension));
  EXO_TRY(inRange("heads x n", kernel.heads() * kernel.n(), 1, kMaxDimension));
  EXO_TRY(inRange("k", kernel.k(), 1, kernel.head_dim()));
  if (kernel.input() == program::X8 && kernel.head_dim() % codegen::kSuperblock != 0)
    return invalid("heads of X8 must be multiples of ", codegen::kSuperblock, " columns, got ", kernel.head_dim());
  return checkWeightEncoding(kernel);
}

Status checkConcat(const Kernel& kernel) {
  EXO_TRY(checkHeads(kernel, "heads", kernel.heads()));
  EXO_TRY(inRange("n", kernel.n(), 1, kMaxDimension));
  const uint64_t width = kernel.n() / kernel.heads();
  if (kernel.n() % kernel.heads() != 0 || kernel.k() < 1 || kernel.k() > width || width - kernel.k() > kernel.head_dim())
    return invalid("n must be ", kernel.heads(), " heads of k and at most head_dim = ", kernel.head_dim(), " columns, got n ", kernel.n(), " and k ", kernel.k());
  return {};
}

Status checkAttention(const Kernel& kernel) {
  EXO_TRY(checkHeads(kernel, "heads", kernel.heads()));
  EXO_TRY(checkHeads(kernel, "kv_heads", kernel.kv_heads()));
  EXO_TRY(inRange("group", kernel.group(), 1, kMaxDimension));
  EXO_TRY(inRange("first_head", kernel.first_head(), 0, kMaxDimension));
  EXO_TRY(inRange("window", kernel.window(), 0, uint64_t{1} << 31));
  const uint64_t last = (kernel.heads() - 1 + kernel.first_head()) / kernel.group();
  if (last >= kernel.kv_heads())
    return invalid("the last query head would read KV head ", last, " of ", kernel.kv_heads(), " (heads ", kernel.heads(),
                   ", group ", kernel.group(), ", first_head ", kernel.first_head(), ")");
  EXO_TRY(checkLatent(kernel));
  return checkCacheEncoding(kernel);
}

Status checkExperts(const Kernel& kernel) {
  EXO_TRY(inRange("top_k", kernel.top_k(), 1, kMaxExperts));
  if (kernel.op() == Kernel::WEIGHTED_SUM || kernel.op() == Kernel::EXPERT_GATHER)
    return inRange("n", kernel.n(), 1, kMaxDimension);
  EXO_TRY(inRange("experts", kernel.experts(), 1, kMaxExperts));
  if (kernel.top_k() > kernel.experts())
    return invalid("top_k ", kernel.top_k(), " is more than the ", kernel.experts(), " experts");
  if (kernel.op() == Kernel::EXPERT_BIAS_ADD || kernel.op() == Kernel::EXPERT_BIAS_SUM) return inRange("n", kernel.n(), 1, kMaxDimension);
  if (kernel.op() != Kernel::EXPERT_MATMUL) return {};
  EXO_TRY(inRange("n", kernel.n(), 1, kMaxDimension));
  EXO_TRY(inRange("k", kernel.k(), 0, kMaxDimension));
  if (kernel.group() > 1 && kernel.group() != kernel.top_k())
    return invalid("group must be 0, 1 or top_k = ", kernel.top_k(), ", got ", kernel.group());
  return checkWeightEncoding(kernel);
}

Status checkVocabularyRange(const Kernel& kernel) {
  EXO_TRY(inRange("n", kernel.n(), 0, kMaxDimension));
  return inRange("index_offset", kernel.index_offset(), 0, (uint64_t{1} << 31) - 1 - kernel.n());
}

Status checkGrain(const Kernel& kernel) {
  if (kernel.grain() == 0) return {};
  const uint64_t unit = static_cast<uint64_t>(codegen::columnUnit(kernel));
  if (unit == 0) return invalid("is not divided by columns, but has grain ", kernel.grain());
  if (kernel.grain() <= kMaxDimension && kernel.grain() % unit == 0) return {};
  return invalid("grain must be a multiple of ", unit, " of at most ", kMaxDimension, ", got ", kernel.grain());
}

Status checkKernelNumbers(const Kernel& kernel) {
  switch (kernel.op()) {
    case Kernel::EMBED:
      EXO_TRY(checkVocabularyRange(kernel));
      EXO_TRY(inRange("k", kernel.k(), 1, kMaxDimension));
      return checkWeightEncoding(kernel);
    case Kernel::MATMUL:
      // k 0: a rank without a share; its partial sums are zeros.
      EXO_TRY(inRange("n", kernel.n(), 1, kMaxDimension));
      EXO_TRY(inRange("k", kernel.k(), 0, kMaxDimension));
      return checkWeightEncoding(kernel);
    case Kernel::RMS_NORM:
      EXO_TRY(inRange("n", kernel.n(), 1, kMaxDimension));
      return checkEpsilon(kernel);
    case Kernel::QUANTIZE: return inRange("k", kernel.k(), 1, kMaxDimension);
    case Kernel::ADD:
    case Kernel::SILU_MUL:
    case Kernel::SIGMOID_MUL:
    case Kernel::SOFT_CAP:
    case Kernel::BIAS_ADD:
    case Kernel::TAKE_ROWS: return inRange("n", kernel.n(), 1, kMaxDimension);
    case Kernel::SQUARE_SUM: return inRange("n", kernel.n(), 0, kMaxDimension);  // 0: a rank without a share
    case Kernel::NORM_BY_SUM:
      EXO_TRY(inRange("n", kernel.n(), 1, kMaxDimension));
      EXO_TRY(inRange("k", kernel.k(), kernel.n(), kMaxDimension));
      return checkEpsilon(kernel);
    case Kernel::HEAD_NORM:
      EXO_TRY(checkHeads(kernel, "heads", kernel.heads()));
      return checkEpsilon(kernel);
    case Kernel::ROPE: return checkRope(kernel);
    case Kernel::KV_APPEND:
      EXO_TRY(checkHeads(kernel, "kv_heads", kernel.kv_heads()));
      EXO_TRY(checkLatent(kernel));
      return checkCacheEncoding(kernel);
    case Kernel::HEAD_MATMUL: return checkHeadMatMul(kernel);
    case Kernel::HEAD_CONCAT: return checkConcat(kernel);
    case Kernel::ATTENTION: return checkAttention(kernel);
    case Kernel::TOP_K:
      EXO_TRY(checkVocabularyRange(kernel));
      return inRange("top_k", kernel.top_k(), 1, kMaxDimension);
    case Kernel::ROUTER_TOP_K:
    case Kernel::EXPERT_DISPATCH:
    case Kernel::EXPERT_GATHER:
    case Kernel::EXPERT_MATMUL:
    case Kernel::EXPERT_BIAS_ADD:
    case Kernel::EXPERT_BIAS_SUM:
    case Kernel::WEIGHTED_SUM: return checkExperts(kernel);
    default: return invalid("unknown op ", static_cast<int>(kernel.op()));
  }
}

/// i32 indices that an op over experts made.
OperandNeed indices(const char* name, RowCount rows, uint64_t columns, Origin origin, const Kernel& kernel, Access access = Access::kAny) {
  OperandNeed need = buffer(name, program::I32, rows, columns, access, origin);
  need.experts = static_cast<int64_t>(kernel.experts());
  return need;
}

CallNeeds expertMatmul(const Kernel& kernel, RowCount rows) {
  const RowCount input = kernel.group() > 1 ? RowCount{rows.base, rows.factor / static_cast<int64_t>(kernel.group())} : rows;
  return {.in = {buffer("x", kernel.input(), input, kernel.k(), Access::kAny), panels(kernel, kernel.experts()),
                 indices("order", rows, 1, Origin::kDispatchOrder, kernel),
                 indices("segments", {}, kernel.experts() + 1, Origin::kDispatchSegments, kernel)},
          .out = {f32("y", rows, kernel.n(), Access::kAny)}};
}

/// As if the kernel had no grain.
Result<CallNeeds> operandNeeds(const Kernel& kernel, RowCount m) {
  const uint64_t n = kernel.n(), k = kernel.k(), top_k = kernel.top_k();
  const uint64_t width = kernel.heads() * kernel.head_dim(), kv_width = kernel.kv_heads() * kernel.head_dim();
  switch (kernel.op()) {
    case Kernel::EMBED: return CallNeeds{{buffer("tokens", program::I32, m, 1), panels(kernel)}, {f32("out", m, k)}, Unit::kRow};
    case Kernel::RMS_NORM: return CallNeeds{{f32("x", m, n), vector("weight", n)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::HEAD_NORM:
      return CallNeeds{{f32("x", m, width), vector("weight", kernel.head_dim())}, {f32("out", m, width)}, Unit::kRow};
    case Kernel::QUANTIZE: return CallNeeds{{f32("x", m, k)}, {buffer("out", program::X8, m, k)}, Unit::kRow};
    case Kernel::MATMUL:
      return CallNeeds{{buffer("x", kernel.input(), m, k, Access::kAny), panels(kernel)}, {f32("out", m, n)}, Unit::kOwn};
    case Kernel::BIAS_ADD: return CallNeeds{{f32("x", m, n), vector("bias", n)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::ADD: return CallNeeds{{f32("a", m, n), f32("b", m, n)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::SILU_MUL: return CallNeeds{{f32("gate", m, n), f32("up", m, n)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::SQUARE_SUM: return CallNeeds{{f32("x", m, n)}, {f32("out", m, 1)}, Unit::kRow};
    case Kernel::NORM_BY_SUM:
      return CallNeeds{{f32("x", m, n), f32("sums", m, 1), vector("weight", n)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::SIGMOID_MUL: return CallNeeds{{f32("x", m, n), f32("gate", m, 1)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::SOFT_CAP: return CallNeeds{{f32("x", m, n)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::ROPE:
      EXO_TRY(requireTokens(kernel, m));
      return CallNeeds{{f32("x", m, width)}, {f32("out", m, width)}, Unit::kRow};
    case Kernel::KV_APPEND:
      EXO_TRY(requireTokens(kernel, m));
      if (kernel.value_dim() > 0) return CallNeeds{{f32("k", m, kv_width), cache()}, {}, Unit::kRow};
      return CallNeeds{{f32("k", m, kv_width), f32("v", m, kv_width), cache()}, {}, Unit::kRow};
    case Kernel::ATTENTION: {
      EXO_TRY(requireTokens(kernel, m));
      CallNeeds needs{{f32("q", m, width, Access::kAny), cache()}, {f32("out", m, kernel.value_dim() > 0 ? kernel.heads() * kernel.value_dim() : width, Access::kAny)}, Unit::kOwn};
      if (kernel.sinks()) needs.in.push_back(vector("sinks", kernel.heads()));
      return needs;
    }
    case Kernel::HEAD_MATMUL:
      return CallNeeds{{buffer("x", kernel.input(), m, width, Access::kAny), panels(kernel, kernel.heads())}, {f32("out", m, kernel.heads() * n, Access::kAny)}, Unit::kOwn};
    case Kernel::HEAD_CONCAT:
      return CallNeeds{{f32("first", m, kernel.heads() * k), f32("second", m, width)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::TAKE_ROWS:
      if (m != RowCount{program::ROWS, 1}) return invalid("TAKE_ROWS makes ROWS rows, got ", toString(m));
      return CallNeeds{{f32("x", {program::TOKENS, 1}, n, Access::kAny), buffer("rows", program::I32, m, 1, Access::kSame, Origin::kRowsInput)},
                       {f32("out", m, n)}, Unit::kRow};
    case Kernel::TOP_K: return CallNeeds{{f32("logits", m, n)}, {f32("values", m, top_k), buffer("ids", program::I32, m, top_k)}, Unit::kRow};
    case Kernel::ROUTER_TOP_K: {
      CallNeeds needs{{f32("logits", m, kernel.experts())}, {f32("weights", m, top_k), buffer("ids", program::I32, m, top_k)}, Unit::kRow};
      if (kernel.bias()) needs.in.push_back(vector("bias", kernel.experts()));
      return needs;
    }
    case Kernel::EXPERT_DISPATCH:
      EXO_TRY(requireTokens(kernel, m));
      return CallNeeds{{indices("ids", m, top_k, Origin::kRouterIds, kernel)},
                       {buffer("order", program::I32, times(m, top_k), 1, Access::kAny),
                        buffer("segments", program::I32, {}, kernel.experts() + 1, Access::kAny)},
                       Unit::kOwn};
    case Kernel::EXPERT_GATHER:
      EXO_TRY(requirePairs(kernel, m));
      return CallNeeds{{f32("x", {program::TOKENS, 1}, n, Access::kAny)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::EXPERT_MATMUL:
      EXO_TRY(requirePairs(kernel, m));
      return expertMatmul(kernel, m);
    case Kernel::EXPERT_BIAS_ADD:
      EXO_TRY(requirePairs(kernel, m));
      return CallNeeds{{f32("x", m, n), vector("bias", n, kernel.experts()), indices("experts", m, 1, Origin::kRouterIds, kernel)}, {f32("out", m, n)}, Unit::kRow};
    case Kernel::EXPERT_BIAS_SUM:
      return CallNeeds{{f32("weights", m, top_k), indices("experts", m, top_k, Origin::kRouterIds, kernel, Access::kSame), vector("bias", n, kernel.experts())},
                       {f32("out", m, n)}, Unit::kRow};
    case Kernel::WEIGHTED_SUM:
      return CallNeeds{{f32("y", times(m, top_k), n), f32("weights", m, top_k)}, {f32("out", m, n)}, Unit::kRow};
    default: return invalid("unknown op ", static_cast<int>(kernel.op()));
  }
}

}  // namespace

std::string toString(const RowCount& rows) {
  std::string text = program::Extent_Name(rows.base);
  return rows.factor == 1 ? text : text + " x " + std::to_string(rows.factor);
}

Result<ProgramFacts> factsOf(const program::Program& program) {
  ProgramFacts facts;
  for (int i = 0; i < program.kernels_size(); ++i) {
    const Kernel& kernel = program.kernels(i);
    if (!isExpertOp(kernel.op())) continue;
    const int64_t top_k = static_cast<int64_t>(kernel.top_k());
    if (facts.experts_per_token != 0 && facts.experts_per_token != top_k)
      return invalid("kernel ", i, " (", Kernel::Op_Name(kernel.op()), ") has ", top_k, " experts per token, others have ",
                     facts.experts_per_token);
    facts.experts_per_token = top_k;
  }
  return facts;
}

Result<RowCount> rowCount(program::Extent extent, const ProgramFacts& facts) {
  switch (extent) {
    case program::ONE:
    case program::TOKENS:
    case program::ROWS: return RowCount{extent, 1};
    case program::EXPERT_ROWS:
      if (facts.experts_per_token > 0) return RowCount{program::TOKENS, facts.experts_per_token};
      return invalid("EXPERT_ROWS in a program without experts");
    default: return invalid("unknown extent ", static_cast<int>(extent));
  }
}

Status checkKernel(const Kernel& kernel) {
  Status status = checkKernelNumbers(kernel);
  if (status.ok()) status = checkGrain(kernel);
  if (status.ok() || !Kernel::Op_IsValid(kernel.op())) return status;
  return std::move(status).error().note("in a kernel of op " + Kernel::Op_Name(kernel.op()));
}

Result<CallNeeds> kernelNeeds(const Kernel& kernel, RowCount rows) {
  EXO_ASSIGN(CallNeeds needs, operandNeeds(kernel, rows));
  if (kernel.grain() > 0) needs.unit = Unit::kColumns;
  return needs;
}
}  // namespace exo::runtime
