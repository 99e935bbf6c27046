// KV_APPEND: keys and values of new positions into the paged cache (layout in kernels.md).
#include "codegen/cache_access.h"

namespace exo::codegen {
namespace {

using program::Kernel;

Val encode(Entry& e, const Kernel& kernel, Val x) { return kernel.cache() == program::F32 ? x : e.toHalf(x); }

/// Keys of one position lie 16 elements apart.
void scatterKey(Entry& e, const Kernel& kernel, Val key, Val to, Val staging) {
  const int64_t bytes = cacheElementBytes(kernel);
  llvm::Type* element = kernel.cache() == program::F32 ? e.i32 : e.i16;
  e.columns(kernel.head_dim(), [&](Val offset, int lanes) {
    e.store(encode(e, kernel, e.loadLanes(e.at(key, offset * 4), lanes)), staging, 32);
    Val start = e.at(to, offset * (kLanes * bytes));
    e.each(e.i(0), e.i(lanes), 1, [&](Val lane) {
      e.store(e.load(element, e.at(staging, lane * bytes), static_cast<int>(bytes)), e.at(start, lane * (kLanes * bytes)), static_cast<int>(bytes));
    });
  });
}

void storeValue(Entry& e, const Kernel& kernel, Val value, Val to) {
  e.columns(kernel.head_dim(), [&](Val offset, int lanes) {
    e.store(encode(e, kernel, e.loadLanes(e.at(value, offset * 4), lanes)), e.at(to, offset * cacheElementBytes(kernel)), 32);
  });
}

}  // namespace

void emitKvAppend(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t dim = kernel.head_dim(), heads = kernel.kv_heads(), bytes = cacheElementBytes(kernel);
  const bool latent = isLatent(kernel);
  Val keys = e.in(0), values = latent ? keys : e.in(1), cache = e.in(latent ? 1 : 2), staging = e.scratch(64);
  e.eachRow(kernel, [&](Val row) {
    Val position = e.index(e.step(offsetof(StepView, positions)), row), slot = position & (kPageTokens - 1);
    Val table = pageTable(e, row);
    e.eachPart(kernel, heads, dim, [&](Val head) {
      const Page page = pageOf(e, kernel, cache, table, shiftRight(position, 6), head);
      Val offset = (row * heads + head) * (4 * dim);
      Val column = (shiftRight(slot, 4) * (kLanes * dim) + (slot & (kLanes - 1))) * bytes;
      if (!latent) scatterKey(e, kernel, e.at(keys, offset), e.at(page.keys, column), staging);
      storeValue(e, kernel, e.at(values, offset), e.at(page.values, slot * (cacheValueStride(dim) * bytes)));
    });
  });
  e.finish();
}

}  // namespace exo::codegen
