// Tokens that are found in the text before the model sees it ("<|im_end|>"), leftmost first, longest at one place.
// Two sets: tokens with normalized = false are looked for in the raw text, the others in the normalised rest.
// Immutable after loading, then thread-safe.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "frontend/tokenizer/json_reader.h"
#include "frontend/tokenizer/normalizer.h"
#include "frontend/tokenizer/vocabulary.h"
#include "ir/base/quoted_text.h"

namespace exo::tokenizer {

struct AddedToken {
  std::string content;
  int64_t id;
  bool single_word, lstrip, rstrip, normalized, special;

  /// An element of "added_tokens"; `id` is read from the element unless given (the key in tokenizer_config.json).
  static Result<AddedToken> parse(const JsonNode& node, std::optional<int64_t> id = std::nullopt);
};

/// A part of a text: an added token, or (id < 0) text between them.
struct AddedTokenSpan {
  int32_t id;
  size_t begin, end;
};

/// Finds the tokens of one set. The longest token bounds the work per byte.
class AddedTokenFinder {
 public:
  /// `content` as it appears in the text that is searched.
  void add(std::string_view content, const AddedToken& token);
  /// Spans that cover the text from begin to end, none empty. A special token that shares a byte with a quote is text.
  std::vector<AddedTokenSpan> split(std::string_view text, std::span<const TextRange> quoted) const;
  /// A special token that is spelt in a text, quoted or not.
  struct Spelt {
    int32_t id;
    TextRange range;
  };
  std::vector<Spelt> specialsIn(std::string_view text) const;

 private:
  struct Match {
    const AddedToken* token;
    size_t size;
  };
  Match longestAt(std::string_view text, size_t position) const;

  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte → node; node 0 is the root
  std::vector<int32_t> token_of_node_ = {-1};     // index into tokens_, or -1
  std::vector<AddedToken> tokens_;
};

class AddedTokens {
 public:
  /// Registers the token and its id in the vocabulary, too.
  Status add(AddedToken token, Vocabulary& vocabulary);
  /// To be called once after the last add: builds the two finders.
  Status finish(const Normalizer& normalizer);

  bool isSpecial(int32_t id) const { return special_ids_.contains(id); }
  const AddedTokenFinder& raw() const { return raw_; }
  const AddedTokenFinder& normalized() const { return normalized_; }
  /// Where the normalised text is quoted, as far as it matters to split(): `normal` is what became of `text`.
  std::vector<TextRange> normalizedQuotes(const QuotedText& text, std::string_view normal) const;

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_set<int32_t> known_ids_, special_ids_;
  AddedTokenFinder raw_, normalized_;
  AddedTokenFinder unnormalized_;  // what normalized_ finds, as the file spells it
};

}  // namespace exo::tokenizer
