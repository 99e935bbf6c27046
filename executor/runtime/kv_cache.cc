#include "executor/runtime/kv_cache.h"

namespace exo::runtime {

PagePool::PagePool(int64_t num_pages) : references_(num_pages, 0) {
  free_.reserve(num_pages);
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

int32_t PagePool::take() {
  EXO_CHECK(!free_.empty());
  const int32_t page = free_.back();
  free_.pop_back();
  references_[page] = 1;
  return page;
}

void PagePool::addReference(int32_t page) {
  EXO_CHECK(references_[page] > 0) << "page " << page << " is free";
  ++references_[page];
}

void PagePool::release(int32_t page) {
  EXO_CHECK(references_[page] > 0) << "page " << page << " is free";
  if (--references_[page] == 0) free_.push_back(page);
}

KvCache::KvCache(int64_t num_pages, int64_t page_tokens, int64_t max_context)
    : pool_(num_pages), page_tokens_(page_tokens), max_context_(max_context) {
  EXO_CHECK(page_tokens > 0);
}

Status KvCache::reserve(uint64_t sequence, int64_t length) {
  if (length < 0 || length > max_context_)
    return invalid("sequence ", sequence, ": ", length, " positions asked for, the context has ", max_context_);
  const auto found = tables_.find(sequence);
  const int64_t have = found == tables_.end() ? 0 : static_cast<int64_t>(found->second.size());
  const int64_t lacking = pagesFor(length) - have;
  if (lacking > pool_.numFree())
    return makeError(ErrorCode::kDoesNotFit, "KV cache is full: sequence ", sequence, " needs ", lacking,
                     " more pages of ", page_tokens_, " positions for ", length, " positions, ", pool_.numFree(), " of ",
                     pool_.size(), " pages are free");
  std::vector<int32_t>& table = tables_[sequence];
  for (int64_t i = 0; i < lacking; ++i) table.push_back(pool_.take());
  return {};
}

void KvCache::shrink(uint64_t sequence, int64_t length) {
  const auto found = tables_.find(sequence);
  if (found == tables_.end()) return;
  std::vector<int32_t>& table = found->second;
  while (static_cast<int64_t>(table.size()) > pagesFor(length)) {
    pool_.release(table.back());
    table.pop_back();
  }
}

void KvCache::release(uint64_t sequence) {
  shrink(sequence, 0);
  tables_.erase(sequence);
}

std::span<const int32_t> KvCache::pages(uint64_t sequence) const {
  const auto found = tables_.find(sequence);
  return found == tables_.end() ? std::span<const int32_t>{} : std::span<const int32_t>(found->second);
}

}  // namespace exo::runtime
