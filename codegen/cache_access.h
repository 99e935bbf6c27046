// How emitted code finds and reads the pages of the KV cache (layout in kernels.md). Internal to codegen: emit_*.cc only.
#pragma once

#include "codegen/emit.h"
#include "codegen/layout.h"

namespace exo::codegen {

constexpr int kBlocks = kPageTokens / kLanes;  // of 16 positions in a page

/// Are values a part of the keys, and both kept as rows?
inline bool isLatent(const program::Kernel& kernel) { return kernel.value_dim() > 0; }

/// Elements of a head that ATTENTION makes.
inline int64_t attentionValueDim(const program::Kernel& kernel) { return static_cast<int64_t>(isLatent(kernel) ? kernel.value_dim() : kernel.head_dim()); }

/// The page of one KV head; of a latent cache keys and values are the same.
struct Page {
  Val keys, values;
};

inline int64_t cacheElementBytes(const program::Kernel& kernel) { return kernel.cache() == program::F16 ? 2 : 4; }

/// Page numbers of the sequence that `row` belongs to.
inline Val pageTable(Entry& e, Val row) {
  Val sequence = e.index(e.step(offsetof(StepView, sequence)), row);
  return e.at(e.step(offsetof(StepView, page_table)), sequence * e.stepNumber(offsetof(StepView, page_table_stride)) * 4);
}

inline Page pageOf(Entry& e, const program::Kernel& kernel, Val cache, Val table, Val page_index, Val kv_head) {
  const int64_t dim = static_cast<int64_t>(kernel.head_dim());
  Val page = e.index(table, page_index) * static_cast<int64_t>(kernel.kv_heads()) + kv_head;
  Val keys = e.at(cache, page * cacheHeadBytes(kernel.cache(), dim, isLatent(kernel) ? 0 : dim));
  if (isLatent(kernel)) return {keys, keys};
  return {keys, e.at(keys, kPageTokens * dim * cacheElementBytes(kernel))};
}

/// 16 elements as f32.
inline Val loadCache(Entry& e, const program::Kernel& kernel, Val pointer) {
  if (kernel.cache() == program::F32) return e.load(e.f32v, pointer, 64);
  return e.fromHalf(e.load(e.vec(e.i16), pointer, 32));
}

}  // namespace exo::codegen
