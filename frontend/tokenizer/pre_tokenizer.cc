#include "frontend/tokenizer/pre_tokenizer.h"

#include <array>

#include "frontend/tokenizer/byte_alphabet.h"
#include "frontend/tokenizer/normalizer.h"
#include "frontend/tokenizer/split.h"
#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {
namespace {

using Parsed = Result<std::unique_ptr<PreTokenizer>>;
using Words = std::vector<Word>;
Parsed parseNested(const JsonNode& node, int depth);

// What ByteLevel splits by when "use_regex" is set: the expression of GPT-2.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kWhitespacePattern = R"(\w+|[^\w\s]+)";

/// A pre-tokenizer made of a function from all words to all words.
template <class Function>
class FunctionPreTokenizer : public PreTokenizer {
 public:
  explicit FunctionPreTokenizer(Function function) : function_(std::move(function)) {}
  Result<Words> apply(Words words, Deadline deadline) const override { return function_(std::move(words), deadline); }

 private:
  Function function_;
};
template <class Function>
Parsed make(Function function) {
  return std::unique_ptr<PreTokenizer>(std::make_unique<FunctionPreTokenizer<Function>>(std::move(function)));
}

void appendPieces(Words& out, Word word, const std::vector<ByteRange>& ranges) {
  if (ranges.size() == 1 && ranges[0].begin == 0 && ranges[0].end == word.text.size()) {
    out.push_back(std::move(word));
    return;
  }
  for (const ByteRange& range : ranges) {
    if (range.begin == range.end) continue;
    out.push_back({word.text.substr(range.begin, range.end - range.begin), word.at_text_start && range.begin == 0});
  }
}

/// find: text → Result<matches>.
template <class Find>
Result<Words> splitWords(Words words, const Find& find, SplitBehavior behavior, SplitMatches meaning) {
  Words out;
  out.reserve(words.size());
  for (Word& word : words) {
    EXO_ASSIGN(const std::vector<ByteRange> matches, find(word.text));
    const auto ranges = splitRanges(partsOf(matches, word.text.size(), meaning), behavior);
    appendPieces(out, std::move(word), ranges);
  }
  return out;
}

/// Every code point with the property is a delimiter of its own.
Parsed makeCharacterSplit(bool (*property)(char32_t), SplitBehavior behavior) {
  return make([=](Words words, Deadline) {
    const auto find = [property](std::string_view text) -> Result<std::vector<ByteRange>> {
      std::vector<ByteRange> matches;
      for (size_t i = 0; i < text.size();) {
        const size_t begin = i;
        if (property(nextCodePoint(text, i))) matches.push_back({begin, i});
      }
      return matches;
    };
    return splitWords(std::move(words), find, behavior, SplitMatches::kAreDelimiters);
  });
}

Result<SplitBehavior> parseBehavior(const JsonNode& node) {
  EXO_ASSIGN(const std::string name, node.string());
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return node.wrong("a split behavior (Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous)");
}

Parsed parseSplit(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "pattern", "behavior", "invert"}));
  EXO_ASSIGN(TextPattern pattern, TextPattern::parse(node.member("pattern")));
  EXO_ASSIGN(const SplitBehavior behavior, parseBehavior(node.member("behavior")));
  EXO_ASSIGN(const bool invert, node.member("invert").booleanOr(false));
  const SplitMatches meaning = invert ? SplitMatches::kAreWords : SplitMatches::kAreDelimiters;
  return make([=](Words words, Deadline deadline) {
    const auto find = [&](std::string_view text) { return pattern.findAll(text, deadline); };
    return splitWords(std::move(words), find, behavior, meaning);
  });
}

Parsed parseByteLevel(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  EXO_ASSIGN(const bool add_prefix_space, node.member("add_prefix_space").boolean());
  EXO_ASSIGN(const bool use_regex, node.member("use_regex").booleanOr(true));
  EXO_ASSIGN(Regex regex, Regex::compile(kGpt2Pattern));
  return make([=](Words words, Deadline deadline) -> Result<Words> {
    if (add_prefix_space) {
      for (Word& word : words) {
        if (!word.text.empty() && !word.text.starts_with(' ')) word.text.insert(0, 1, ' ');
      }
    }
    if (use_regex) {
      const auto find = [&](std::string_view text) { return regex.findAll(text, deadline); };
      EXO_ASSIGN(words, splitWords(std::move(words), find, SplitBehavior::kIsolated, SplitMatches::kAreDelimiters));
    }
    for (Word& word : words) word.text = toByteAlphabet(word.text);
    return words;
  });
}

enum class PrependScheme { kAlways, kFirst, kNever };

Result<PrependScheme> parsePrependScheme(const JsonNode& metaspace) {
  const JsonNode node = metaspace.member("prepend_scheme");
  if (node.isNull()) {  // files before 2023 say add_prefix_space
    EXO_ASSIGN(const bool add, metaspace.member("add_prefix_space").booleanOr(true));
    return add ? PrependScheme::kAlways : PrependScheme::kNever;
  }
  EXO_ASSIGN(const std::string name, node.string());
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  return node.wrong("\"always\", \"first\" or \"never\"");
}

std::string replaceAll(std::string_view text, char from, std::string_view to) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (const char c : text) {
    if (c == from) {
      out += to;
    } else {
      out += c;
    }
  }
  return out;
}

Parsed parseMetaspace(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "replacement", "str_rep", "prepend_scheme", "add_prefix_space", "split"}));
  EXO_ASSIGN(std::string mark, node.member("replacement").string());
  if (mark.empty() || sequenceSize(mark[0]) != mark.size()) return node.member("replacement").wrong("one character");
  EXO_ASSIGN(const PrependScheme scheme, parsePrependScheme(node));
  EXO_ASSIGN(const bool split, node.member("split").booleanOr(true));
  return make([=](Words words, Deadline) -> Result<Words> {
    for (Word& word : words) {
      word.text = replaceAll(word.text, ' ', mark);
      const bool wanted = scheme == PrependScheme::kAlways || (scheme == PrependScheme::kFirst && word.at_text_start);
      if (wanted && !word.text.empty() && !word.text.starts_with(mark)) word.text.insert(0, mark);
    }
    if (!split) return words;
    const auto find = [&](std::string_view text) -> Result<std::vector<ByteRange>> {
      std::vector<ByteRange> matches;
      for (size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, at + mark.size())) {
        matches.push_back({at, at + mark.size()});
      }
      return matches;
    };
    return splitWords(std::move(words), find, SplitBehavior::kMergedWithNext, SplitMatches::kAreDelimiters);
  });
}

Parsed parseDigits(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "individual_digits"}));
  EXO_ASSIGN(const bool individual, node.member("individual_digits").booleanOr(false));
  return makeCharacterSplit(isNumeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

Parsed parsePunctuation(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "behavior"}));
  if (node.member("behavior").isNull()) return makeCharacterSplit(isPunctuation, SplitBehavior::kIsolated);
  EXO_ASSIGN(const SplitBehavior behavior, parseBehavior(node.member("behavior")));
  return makeCharacterSplit(isPunctuation, behavior);
}

Parsed parseWhitespaceSplit(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type"}));
  return makeCharacterSplit(isSpace, SplitBehavior::kRemoved);
}

Parsed parseWhitespace(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type"}));
  EXO_ASSIGN(Regex regex, Regex::compile(kWhitespacePattern));
  return make([regex](Words words, Deadline deadline) {
    const auto find = [&](std::string_view text) { return regex.findAll(text, deadline); };
    return splitWords(std::move(words), find, SplitBehavior::kRemoved, SplitMatches::kAreWords);
  });
}

Parsed parseSequence(const JsonNode& node, int depth) {
  EXO_TRY(node.requireKeys({"type", "pretokenizers"}));
  const JsonNode list = node.member("pretokenizers");
  EXO_ASSIGN(const size_t count, list.arraySize());
  std::vector<std::shared_ptr<PreTokenizer>> steps;
  for (size_t i = 0; i < count; ++i) {
    EXO_ASSIGN(auto step, parseNested(list.element(i), depth + 1));
    steps.push_back(std::move(step));
  }
  return make([steps](Words words, Deadline deadline) -> Result<Words> {
    for (const auto& step : steps) {
      EXO_ASSIGN(words, step->apply(std::move(words), deadline));
    }
    return words;
  });
}

struct Kind {
  std::string_view name;
  Parsed (*parse)(const JsonNode&, int depth);
};
constexpr std::array<Kind, 8> kKinds = {{
    {"Sequence", parseSequence},
    {"Split", parseSplit},
    {"ByteLevel", parseByteLevel},
    {"Metaspace", parseMetaspace},
    {"Digits", parseDigits},
    {"Punctuation", parsePunctuation},
    {"Whitespace", parseWhitespace},
    {"WhitespaceSplit", parseWhitespaceSplit},
}};

Parsed parseNested(const JsonNode& node, int depth) {
  if (depth > kMaxComponentDepth) return node.refuse("such deep nesting");
  EXO_ASSIGN(const std::string type, node.typeName());
  for (const Kind& kind : kKinds) {
    if (kind.name == type) return kind.parse(node, depth);
  }
  return node.refuse("the pre-tokenizer \"" + type + "\"");
}

}  // namespace

Parsed parsePreTokenizer(const JsonNode& node) {
  if (node.isNull()) return make([](Words words, Deadline) -> Result<Words> { return words; });
  return parseNested(node, 0);
}

}  // namespace exo::tokenizer
