#include "executor/serve/page_cache.h"

#include <algorithm>

#include "ir/base/result.h"

namespace exo::serve {
namespace {

/// FNV-1a over words.
uint64_t hashOf(int32_t parent, std::span<const int32_t> tokens) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&](int32_t value) { hash = (hash ^ static_cast<uint32_t>(value)) * 0x100000001b3; };
  mix(parent);
  for (const int32_t token : tokens) mix(token);
  return hash;
}

}  // namespace

PageCache::PageCache(int64_t num_pages, int64_t page_tokens) : page_tokens_(page_tokens), pages_(static_cast<size_t>(num_pages)) {
  EXO_CHECK(page_tokens > 0);
  free_.reserve(pages_.size());
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

std::optional<int32_t> PageCache::take() {
  if (free_.empty() && !forgettable_.empty()) forgetOldest();
  if (free_.empty()) return std::nullopt;
  const int32_t page = free_.back();
  free_.pop_back();
  pages_[page].references = 1;
  return page;
}

std::optional<int32_t> PageCache::lookUp(uint64_t key, int32_t parent, std::span<const int32_t> tokens) const {
  const auto [begin, end] = published_.equal_range(key);
  for (auto at = begin; at != end; ++at) {
    const Page& page = pages_[at->second];
    if (page.parent == parent && std::equal(page.tokens.begin(), page.tokens.end(), tokens.begin(), tokens.end())) return at->second;
  }
  return std::nullopt;
}

std::optional<int32_t> PageCache::find(int32_t parent, std::span<const int32_t> tokens) {
  const std::optional<int32_t> page = lookUp(hashOf(parent, tokens), parent, tokens);
  if (page) reference(*page);
  return page;
}

int32_t PageCache::publish(int32_t page, int32_t parent, std::span<const int32_t> tokens) {
  EXO_CHECK(static_cast<int64_t>(tokens.size()) == page_tokens_ && pages_[page].references == 1 && !pages_[page].published);
  const uint64_t key = hashOf(parent, tokens);
  if (const std::optional<int32_t> same = lookUp(key, parent, tokens)) {
    reference(*same);
    release(page);
    return *same;
  }
  Page& entry = pages_[page];
  entry.published = true;
  entry.parent = parent;
  entry.key = key;
  entry.tokens.assign(tokens.begin(), tokens.end());
  published_.emplace(key, page);
  if (parent != kRoot) ++pages_[parent].children;
  return page;
}

void PageCache::reference(int32_t page) {
  Page& entry = pages_[page];
  if (entry.references++ > 0) return;
  --unused_;
  forgettable_.erase({entry.released_at, page});
}

void PageCache::release(int32_t page) {
  Page& entry = pages_[page];
  EXO_CHECK(entry.references > 0) << "page " << page << " is not in use";
  if (--entry.references > 0) return;
  if (!entry.published) {
    free_.push_back(page);
    return;
  }
  ++unused_;
  entry.released_at = ++now_;
  markUnused(page);
}

void PageCache::markUnused(int32_t page) {
  const Page& entry = pages_[page];
  if (entry.references == 0 && entry.children == 0) forgettable_.emplace(entry.released_at, page);
}

void PageCache::forgetOldest() {
  const int32_t page = forgettable_.begin()->second;
  forgettable_.erase(forgettable_.begin());
  Page& entry = pages_[page];
  const auto [begin, end] = published_.equal_range(entry.key);
  published_.erase(std::find_if(begin, end, [&](const auto& each) { return each.second == page; }));
  entry.published = false;
  --unused_;
  ++evicted_;
  free_.push_back(page);
  if (entry.parent == kRoot) return;
  --pages_[entry.parent].children;
  markUnused(entry.parent);
}

}  // namespace exo::serve
