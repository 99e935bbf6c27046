// Work units, scratch sizes and the checks of a kernel spec: untrusted numbers end here.
#include "codegen/kernel.h"

#include <algorithm>

#include "codegen/emit.h"
#include "codegen/host_kernels.h"
#include "codegen/layout.h"
#include "codegen/spec.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr uint64_t kMaxColumns = uint64_t{1} << 31;
constexpr uint64_t kMaxTopK = 1 << 16;

template <class... Parts>
Status require(bool condition, const Kernel& kernel, const Parts&... parts) {
  if (condition) return {};
  return invalid("kernel ", Kernel::Op_Name(kernel.op()), ": ", parts...);
}

Status checkWeight(const Kernel& kernel) {
  const auto weight = kernel.weight();
  const bool quantised = weight == program::Q8 || weight == program::Q4;
  const bool plain = weight == program::F32 || weight == program::BF16 || weight == program::F16;
  EXO_TRY(require(quantised || plain, kernel, "weight must be F32, BF16, F16, Q8 or Q4, got ", program::Encoding_Name(weight)));
  if (kernel.op() == Kernel::EMBED) return {};
  const auto expected = quantised ? program::X8 : program::F32;
  return require(kernel.input() == expected, kernel, "input must be ", program::Encoding_Name(expected), " for ",
                 program::Encoding_Name(weight), " weights, got ", program::Encoding_Name(kernel.input()));
}

Status checkHeads(const Kernel& kernel) {
  EXO_TRY(require(kernel.head_dim() >= 1 && kernel.head_dim() <= 4096, kernel, "head_dim must be in 1..4096, got ", kernel.head_dim()));
  EXO_TRY(require(kernel.value_dim() <= kernel.head_dim(), kernel, "value_dim must be at most head_dim ", kernel.head_dim(), ", got ", kernel.value_dim()));
  const bool kv = kernel.op() == Kernel::KV_APPEND || kernel.op() == Kernel::ATTENTION;
  const uint64_t heads = kernel.op() == Kernel::KV_APPEND ? kernel.kv_heads() : kernel.heads();
  EXO_TRY(require(heads <= 65536, kernel, "at most 65536 heads, got ", heads));
  if (!kv) return {};
  EXO_TRY(require(kernel.kv_heads() <= 65536, kernel, "at most 65536 KV heads, got ", kernel.kv_heads()));
  EXO_TRY(require(kernel.value_dim() == 0 || kernel.kv_heads() == 1, kernel, "keys that hold the values are of one KV head, got ", kernel.kv_heads()));
  return require(kernel.cache() == program::F32 || kernel.cache() == program::F16, kernel, "cache must be F32 or F16, got ",
                 program::Encoding_Name(kernel.cache()));
}

Status checkAttention(const Kernel& kernel) {
  EXO_TRY(require(kernel.group() >= 1 && kernel.group() <= 65536, kernel, "group must be in 1..65536, got ", kernel.group()));
  EXO_TRY(require(kernel.first_head() < kernel.group(), kernel, "first_head must be below group ", kernel.group(), ", got ", kernel.first_head()));
  EXO_TRY(require(kernel.window() < kMaxColumns, kernel, "window must be below 2^31, got ", kernel.window()));
  const uint64_t needed = (kernel.heads() + kernel.first_head() + kernel.group() - 1) / kernel.group();
  return require(needed <= kernel.kv_heads(), kernel, kernel.heads(), " heads from ", kernel.first_head(), " on in groups of ",
                 kernel.group(), " need ", needed, " KV heads, got ", kernel.kv_heads());
}

Status checkRope(const Kernel& kernel) {
  const uint64_t pairs = kernel.rope_frequencies_size();
  EXO_TRY(require(kernel.rotary_dim() == 2 * pairs, kernel, "rotary_dim must be twice the ", pairs, " frequencies, got ", kernel.rotary_dim()));
  EXO_TRY(require(kernel.rotary_dim() <= kernel.head_dim(), kernel, "rotary_dim must be at most head_dim ", kernel.head_dim(), ", got ", kernel.rotary_dim()));
  return require(kernel.rotary_begin() <= kernel.head_dim() - kernel.rotary_dim(), kernel, "rotary_begin must be at most head_dim - rotary_dim = ",
                 kernel.head_dim() - kernel.rotary_dim(), ", got ", kernel.rotary_begin());
}

Status checkHeadMatMul(const Kernel& kernel) {
  EXO_TRY(require(kernel.k() <= kernel.head_dim(), kernel, "k must be at most head_dim ", kernel.head_dim(), ", got ", kernel.k()));
  const bool aligned = kernel.input() != program::X8 || kernel.head_dim() % kSuperblock == 0;
  return require(aligned, kernel, "head_dim must be a multiple of ", kSuperblock, " for X8, got ", kernel.head_dim());
}

Status checkConcat(const Kernel& kernel) {
  const bool whole = kernel.heads() >= 1 && kernel.n() % kernel.heads() == 0;
  EXO_TRY(require(whole, kernel, "n must be a multiple of the ", kernel.heads(), " heads, got ", kernel.n()));
  const uint64_t width = kernel.n() / kernel.heads();
  return require(kernel.k() <= width && width - kernel.k() <= kernel.head_dim(), kernel, "a head of ", width, " columns must be k and at most head_dim = ",
                 kernel.head_dim(), ", got k = ", kernel.k());
}

Status checkGroups(const Kernel& kernel) {
  const uint64_t groups = kernel.groups(), top_groups = kernel.top_groups();
  if (groups <= 1) return {};
  EXO_TRY(require(groups <= kernel.experts() && kernel.experts() % groups == 0, kernel, "groups must divide the ", kernel.experts(), " experts, got ", groups));
  return require(top_groups >= 1 && top_groups <= groups && top_groups * (kernel.experts() / groups) >= kernel.top_k(), kernel,
                 "top_groups must be at most ", groups, " and hold top_k = ", kernel.top_k(), " experts, got ", top_groups);
}

Status checkExperts(const Kernel& kernel) {
  EXO_TRY(require(kernel.top_k() <= kMaxTopK, kernel, "top_k must be at most ", kMaxTopK, ", got ", kernel.top_k()));
  switch (kernel.op()) {
    case Kernel::ROUTER_TOP_K:
    case Kernel::EXPERT_DISPATCH:
      EXO_TRY(require(kernel.experts() >= 1 && kernel.experts() <= kMaxTopK, kernel, "experts must be in 1..", kMaxTopK, ", got ", kernel.experts()));
      EXO_TRY(require(kernel.top_k() >= 1 && kernel.top_k() <= kernel.experts(), kernel, "top_k must be in 1..", kernel.experts(), ", got ", kernel.top_k()));
      return checkGroups(kernel);
    case Kernel::EXPERT_BIAS_ADD:
    case Kernel::EXPERT_BIAS_SUM:
      return require(kernel.experts() >= 1 && kernel.experts() <= kMaxTopK, kernel, "experts must be in 1..", kMaxTopK, ", got ", kernel.experts());
    case Kernel::EXPERT_MATMUL:
      EXO_TRY(require(kernel.group() <= kMaxTopK, kernel, "group must be at most ", kMaxTopK, ", got ", kernel.group()));
      return require(kernel.experts() >= 1 && kernel.experts() <= kMaxTopK, kernel, "experts must be in 1..", kMaxTopK, ", got ", kernel.experts());
    case Kernel::EXPERT_GATHER: return require(kernel.top_k() >= 1, kernel, "top_k must be at least 1");
    default: return {};
  }
}

Status checkGrain(const Kernel& kernel) {
  if (kernel.grain() == 0) return {};
  const uint64_t unit = static_cast<uint64_t>(columnUnit(kernel));
  EXO_TRY(require(unit > 0, kernel, "is not divided by columns, but grain is ", kernel.grain()));
  return require(kernel.grain() < kMaxColumns && kernel.grain() % unit == 0, kernel, "grain must be a multiple of ", unit, ", got ", kernel.grain());
}

}  // namespace

int64_t columnUnit(const Kernel& kernel) {
  switch (kernel.op()) {
    case Kernel::MATMUL: return kPanelRows;
    case Kernel::BIAS_ADD:
    case Kernel::ADD:
    case Kernel::NORM_BY_SUM:
    case Kernel::SIGMOID_MUL:
    case Kernel::SOFT_CAP:
    case Kernel::SILU_MUL: return kLanes;
    case Kernel::QUANTIZE: return kSuperblock;
    case Kernel::HEAD_NORM:
    case Kernel::ROPE:
    case Kernel::KV_APPEND: return static_cast<int64_t>(kernel.head_dim());
    default: return 0;
  }
}

int64_t dividedColumns(const Kernel& kernel) {
  switch (kernel.op()) {
    case Kernel::HEAD_NORM:
    case Kernel::ROPE: return static_cast<int64_t>(kernel.heads() * kernel.head_dim());
    case Kernel::KV_APPEND: return static_cast<int64_t>(kernel.kv_heads() * kernel.head_dim());
    default: return static_cast<int64_t>(kernel.n());
  }
}

int64_t rowWork(const Kernel& kernel) {
  // An 8-bit product costs a quarter of one in f32, and less than its bytes: a whole matmul is never small.
  const int64_t n = static_cast<int64_t>(kernel.n()), k = static_cast<int64_t>(kernel.k());
  switch (kernel.op()) {
    case Kernel::MATMUL:
    case Kernel::EXPERT_MATMUL: return n * k / (kernel.input() == program::X8 ? 4 : 1);
    case Kernel::HEAD_MATMUL: return static_cast<int64_t>(kernel.heads()) * n * k / (kernel.input() == program::X8 ? 4 : 1);
    case Kernel::EMBED: return k;
    case Kernel::ATTENTION: return int64_t{1} << 30;
    case Kernel::TOP_K: return static_cast<int64_t>(kernel.n() + kernel.top_k());
    case Kernel::ROUTER_TOP_K:
    case Kernel::EXPERT_DISPATCH: return static_cast<int64_t>(kernel.experts() + kernel.top_k());
    case Kernel::EXPERT_BIAS_SUM:
    case Kernel::WEIGHTED_SUM: return n * static_cast<int64_t>(kernel.top_k());
    default: return dividedColumns(kernel);
  }
}

Status checkKernel(const Kernel& kernel) {
  EXO_TRY(require(Kernel::Op_IsValid(kernel.op()) && kernel.op() != Kernel::UNSPECIFIED, kernel, "unknown op ", static_cast<int>(kernel.op())));
  EXO_TRY(require(kernel.n() < kMaxColumns && kernel.k() < kMaxColumns, kernel, "n and k must be below 2^31, got ", kernel.n(), " and ", kernel.k()));
  EXO_TRY(checkExperts(kernel));
  EXO_TRY(checkGrain(kernel));
  switch (kernel.op()) {
    case Kernel::EMBED:
    case Kernel::MATMUL:
    case Kernel::EXPERT_MATMUL: return checkWeight(kernel);
    case Kernel::HEAD_MATMUL:
      EXO_TRY(checkWeight(kernel));
      EXO_TRY(checkHeads(kernel));
      return checkHeadMatMul(kernel);
    case Kernel::HEAD_CONCAT: EXO_TRY(checkHeads(kernel)); return checkConcat(kernel);
    case Kernel::ROPE: EXO_TRY(checkHeads(kernel)); return checkRope(kernel);
    case Kernel::ATTENTION: EXO_TRY(checkHeads(kernel)); return checkAttention(kernel);
    case Kernel::HEAD_NORM:
    case Kernel::KV_APPEND: return checkHeads(kernel);
    case Kernel::SILU_MUL:
      return require((kernel.gate() == Kernel::CLAMPED_SWIGLU) == (kernel.gate_limit() > 0), kernel, "gate_limit must be above 0 for CLAMPED_SWIGLU and 0 for others, got ", kernel.gate_limit());
    case Kernel::SOFT_CAP: return require(kernel.soft_cap() > 0, kernel, "soft_cap must be above 0, got ", kernel.soft_cap());
    case Kernel::NORM_BY_SUM: return require(kernel.k() >= 1 && kernel.n() <= kernel.k(), kernel, "k must be at least n = ", kernel.n(), ", got ", kernel.k());
    default: return {};
  }
}

int64_t scratchBytes(const Kernel& kernel) {
  switch (kernel.op()) {
    case Kernel::MATMUL:
    case Kernel::EXPERT_MATMUL:
    case Kernel::HEAD_MATMUL: return matMulScratchBytes(kernel);
    case Kernel::ATTENTION: return attentionScratchBytes(kernel);
    case Kernel::ROPE: return ropeScratchBytes(kernel);
    case Kernel::TOP_K: return static_cast<int64_t>(kernel.top_k()) * 8;
    case Kernel::ROUTER_TOP_K: return static_cast<int64_t>(kernel.top_k() + kernel.top_groups()) * 8 + static_cast<int64_t>(2 * kernel.experts() + kernel.groups()) * 4;
    default: return 0;
  }
}

int64_t attentionPartialsBytes(const Kernel& kernel, int64_t rows, int64_t chunks) {
  return rows * static_cast<int64_t>(kernel.heads()) * chunks * attentionPartialBytes(kernel);
}

int64_t attentionGroups(const Kernel& kernel) {
  if (kernel.value_dim() == 0) return static_cast<int64_t>(kernel.kv_heads());
  return (static_cast<int64_t>(kernel.heads()) + kLatentHeads - 1) / kLatentHeads;
}

int64_t workUnits(const Kernel& kernel, int64_t rows, int64_t attention_chunks) {
  if (rows <= 0) return 0;
  const int64_t panel_groups = (static_cast<int64_t>(kernel.n()) + kPanelRows * kPanelsPerUnit - 1) / (kPanelRows * kPanelsPerUnit);
  const int64_t grain = static_cast<int64_t>(kernel.grain());
  if (grain > 0) return (dividedColumns(kernel) + grain - 1) / grain;
  switch (kernel.op()) {
    case Kernel::MATMUL: return panel_groups;
    case Kernel::EXPERT_MATMUL: return panel_groups * static_cast<int64_t>(kernel.experts());
    case Kernel::HEAD_MATMUL: return panel_groups * static_cast<int64_t>(kernel.heads());
    case Kernel::ATTENTION: return rows * attentionGroups(kernel) * std::max<int64_t>(attention_chunks, 1);
    case Kernel::EXPERT_DISPATCH: return 1;
    default: return rows;
  }
}

}  // namespace exo::codegen
