// Pages of the KV caches: which are in use, which keep the prefix of an earlier sequence, which are free. All layers share one numbering: page p
// is page p in every layer's cache of every rank.
// A page that is full can be published: it then stands in a tree, under the page before it, by the tokens it holds, and whoever
// begins with the same tokens takes it instead of computing it. Pages that nobody uses stay until their room is needed: then the
// one unused for longest goes, of those without children. Tokens are compared, not only their hash: a prefix is never
// another's.
// Plain bookkeeping: touches no cache memory; not thread-safe; the same calls give the same pages.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace exo::serve {

class PageCache {
 public:
  static constexpr int32_t kRoot = -1;   // the parent of a sequence's first page

  PageCache(int64_t num_pages, int64_t page_tokens);

  /// A page for new content, with one reference; an unused prefix is forgotten if no page is free. Empty when all are in use.
  std::optional<int32_t> take();
  /// The published page that holds `tokens` (page_tokens of them) behind `parent`, with one more reference. Who takes a page
  /// holds its parent too.
  std::optional<int32_t> find(int32_t parent, std::span<const int32_t> tokens);
  /// Publishes `page`, which is full. Returns it, or the page that holds the same already: the caller's reference is moved there.
  int32_t publish(int32_t page, int32_t parent, std::span<const int32_t> tokens);
  /// Gives one reference back; children before parents.
  void release(int32_t page);

  int64_t numPages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t pageTokens() const { return page_tokens_; }
  int64_t available() const { return static_cast<int64_t>(free_.size()) + unused_; }   // that take() can give
  int64_t unused() const { return unused_; }                                           // kept for their prefix alone
  int64_t used() const { return numPages() - available(); }
  uint64_t evicted() const { return evicted_; }
  int references(int32_t page) const { return pages_[page].references; }

 private:
  struct Page {
    int references = 0, children = 0;
    bool published = false;
    int32_t parent = kRoot;
    uint64_t key = 0, released_at = 0;
    std::vector<int32_t> tokens;
  };
  std::optional<int32_t> lookUp(uint64_t key, int32_t parent, std::span<const int32_t> tokens) const;
  void reference(int32_t page);
  void forgetOldest();
  void markUnused(int32_t page);

  int64_t page_tokens_;
  std::vector<Page> pages_;
  std::vector<int32_t> free_;                               // a stack: the page freed last is warm in the processor's cache
  std::unordered_multimap<uint64_t, int32_t> published_;    // by hash of parent and tokens
  std::set<std::pair<uint64_t, int32_t>> forgettable_;      // unused and without children, by released_at
  int64_t unused_ = 0;
  uint64_t now_ = 0, evicted_ = 0;
};

}  // namespace exo::serve
