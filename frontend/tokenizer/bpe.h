// Byte-pair encoding: a word's characters are merged pairwise, the merge that was learnt first goes first, leftmost on a tie
// (Sennrich et al. 2016). O(n log n) in the word's length: a heap of candidate pairs over a linked list of symbols.
// Immutable after loading, then thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "frontend/tokenizer/json_reader.h"
#include "frontend/tokenizer/vocabulary.h"

namespace exo::tokenizer {

/// (left id, right id) → rank and id of the merged token: open addressing, for half a million merges at start-up.
class MergeTable {
 public:
  struct Merge {
    int32_t rank = -1, id = -1;
  };

  void reserve(size_t num_merges);
  /// A pair given twice keeps the later merge. Needs a reserve() for at least as many pairs before.
  void set(int32_t left, int32_t right, Merge merge);
  /// nullptr when the pair does not merge.
  const Merge* find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  size_t slotOf(uint64_t key) const;

  std::vector<Slot> slots_;  // a power of two of them, at most half full; rank -1: free
};

class BpeModel {
 public:
  /// The "model" object of the file; fills `vocabulary` with its tokens.
  static Result<BpeModel> parse(const JsonNode& model, Vocabulary& vocabulary);

  /// Appends the ids of one word (valid UTF-8). A character without token, byte tokens or unk token is left out.
  void encode(std::string_view word, const Vocabulary& vocabulary, std::vector<int32_t>& ids) const;

 private:
  struct Symbol;
  Status parseMerges(const JsonNode& merges, const Vocabulary& vocabulary);
  std::vector<Symbol> symbolsOf(std::string_view word, const Vocabulary& vocabulary) const;
  void merge(std::vector<Symbol>& symbols) const;
  bool appendBytes(std::string_view character, std::vector<Symbol>& symbols) const;

  MergeTable merges_;
  std::optional<int32_t> unk_id_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  std::vector<int32_t> byte_ids_;  // of "<0x00>" … "<0xFF>", -1: no such token
};

}  // namespace exo::tokenizer
