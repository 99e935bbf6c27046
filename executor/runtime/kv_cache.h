// Which pages of the KV caches belong to which sequence. All layers share one numbering: page p of a sequence is page p in
// every layer's cache. Pages are counted by reference, so that sequences may come to share a prefix; nothing shares yet.
// Plain bookkeeping: not thread-safe, touches no cache memory.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "ir/base/result.h"

namespace exo::runtime {

/// Pages [0, num_pages) and how many sequences use each.
class PagePool {
 public:
  explicit PagePool(int64_t num_pages);

  int64_t size() const { return static_cast<int64_t>(references_.size()); }
  int64_t numFree() const { return static_cast<int64_t>(free_.size()); }
  int references(int32_t page) const { return references_[page]; }

  /// A free page, with one reference. Only when numFree() > 0.
  int32_t take();
  void addReference(int32_t page);
  /// Gives one reference back; the page is free when it was the last.
  void release(int32_t page);

 private:
  std::vector<int32_t> references_;
  std::vector<int32_t> free_;   // a stack: the page freed last is warm in the cache
};

/// Page tables by sequence id.
class KvCache {
 public:
  KvCache(int64_t num_pages, int64_t page_tokens, int64_t max_context);

  /// Makes room for positions [0, length) of a sequence, which is created if new. All or nothing: kDoesNotFit with
  /// numbers when pages are lacking, kInvalidInput beyond max_context.
  Status reserve(uint64_t sequence, int64_t length);

  /// Frees the pages from position `length` (rounded up to pages) on; 0 keeps the sequence with no pages.
  void shrink(uint64_t sequence, int64_t length);

  /// Forgets a sequence; nothing happens if it is unknown.
  void release(uint64_t sequence);

  /// Page numbers in order of position; empty if unknown. Valid until the sequence changes.
  std::span<const int32_t> pages(uint64_t sequence) const;

  int64_t freePages() const { return pool_.numFree(); }
  int64_t numPages() const { return pool_.size(); }
  int64_t pageTokens() const { return page_tokens_; }
  int64_t numSequences() const { return static_cast<int64_t>(tables_.size()); }

 private:
  int64_t pagesFor(int64_t length) const { return (length + page_tokens_ - 1) / page_tokens_; }

  PagePool pool_;
  int64_t page_tokens_, max_context_;
  std::map<uint64_t, std::vector<int32_t>> tables_;
};

}  // namespace exo::runtime
