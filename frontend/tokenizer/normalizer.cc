#include "frontend/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "frontend/tokenizer/byte_alphabet.h"
#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {
namespace {

using Parsed = Result<std::unique_ptr<Normalizer>>;
Parsed parseNested(const JsonNode& node, int depth);

// A normalised text is a few times longer at most (18 times for one Arabic ligature), except when Replace is used to blow it
// up: a bound on what a bad file can allocate.
constexpr size_t kMaxNormalizedBytes = size_t{1} << 30;

/// A normalizer made of a function object; most need no more.
template <class Function>
class FunctionNormalizer : public Normalizer {
 public:
  explicit FunctionNormalizer(Function function) : function_(std::move(function)) {}
  Result<std::string> apply(std::string text, Deadline deadline) const override { return function_(std::move(text), deadline); }

 private:
  Function function_;
};
template <class Function>
Parsed make(Function function) {
  return std::unique_ptr<Normalizer>(std::make_unique<FunctionNormalizer<Function>>(std::move(function)));
}

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  Result<std::string> apply(std::string text, Deadline deadline) const override {
    for (const auto& step : steps_) {
      EXO_ASSIGN(text, step->apply(std::move(text), deadline));
    }
    return text;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

Result<std::string> unicodeForm(const std::string& text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto* in = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = utf8proc_map(in, static_cast<utf8proc_ssize_t>(text.size()), &mapped, static_cast<utf8proc_option_t>(options));
  if (size < 0) return invalid("tokenizer: Unicode normalisation failed: ", utf8proc_errmsg(size));
  std::string out(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
  std::free(mapped);
  return out;
}

template <int kOptions>
Parsed parseUnicodeForm(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type"}));
  return make([](std::string text, Deadline) { return unicodeForm(text, kOptions | UTF8PROC_STABLE); });
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = nextCodePoint(text, i);
    if (c == 0x130) {
      out += "i\xCC\x87";  // the one letter whose lower case is two code points
    } else {
      appendUtf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

Parsed parseLowercase(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type"}));
  return make([](std::string text, Deadline) -> Result<std::string> { return lowercase(text); });
}

Parsed parseByteLevel(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type"}));
  return make([](std::string text, Deadline) -> Result<std::string> { return toByteAlphabet(text); });
}

std::string strip(std::string_view text, bool left, bool right) {
  size_t begin = 0, end = 0;
  bool inside = !left;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    if (isSpace(nextCodePoint(text, i))) continue;
    if (!inside) begin = start;
    inside = true;
    end = i;
  }
  if (!inside) return {};
  return std::string(text.substr(begin, (right ? end : text.size()) - begin));
}

Parsed parseStrip(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "strip_left", "strip_right"}));
  EXO_ASSIGN(const bool left, node.member("strip_left").boolean());
  EXO_ASSIGN(const bool right, node.member("strip_right").boolean());
  return make([=](std::string text, Deadline) -> Result<std::string> { return strip(text, left, right); });
}

Parsed parsePrepend(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "prepend"}));
  EXO_ASSIGN(std::string prefix, node.member("prepend").string());
  return make([prefix](std::string text, Deadline) -> Result<std::string> { return text.empty() ? text : prefix + text; });
}

Parsed parseReplace(const JsonNode& node, int) {
  EXO_TRY(node.requireKeys({"type", "pattern", "content"}));
  EXO_ASSIGN(TextPattern pattern, TextPattern::parse(node.member("pattern")));
  EXO_ASSIGN(std::string content, node.member("content").string());
  return make([pattern, content](std::string text, Deadline deadline) -> Result<std::string> {
    EXO_ASSIGN(const std::vector<ByteRange> matches, pattern.findAll(text, deadline));
    if (matches.size() > kMaxNormalizedBytes / (content.size() + 1)) return invalid("tokenizer: Replace makes the text too long");
    std::string out;
    out.reserve(text.size());
    size_t done = 0;
    for (const ByteRange& match : matches) {
      out.append(text, done, match.begin - done).append(content);
      done = match.end;
    }
    return out.append(text, done);
  });
}

Parsed parseSequence(const JsonNode& node, int depth) {
  EXO_TRY(node.requireKeys({"type", "normalizers"}));
  const JsonNode list = node.member("normalizers");
  EXO_ASSIGN(const size_t count, list.arraySize());
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (size_t i = 0; i < count; ++i) {
    EXO_ASSIGN(auto step, parseNested(list.element(i), depth + 1));
    steps.push_back(std::move(step));
  }
  return std::unique_ptr<Normalizer>(std::make_unique<SequenceNormalizer>(std::move(steps)));
}

struct Kind {
  std::string_view name;
  Parsed (*parse)(const JsonNode&, int depth);
};
constexpr std::array<Kind, 10> kKinds = {{
    {"Sequence", parseSequence},
    {"NFC", parseUnicodeForm<UTF8PROC_COMPOSE>},
    {"NFD", parseUnicodeForm<UTF8PROC_DECOMPOSE>},
    {"NFKC", parseUnicodeForm<UTF8PROC_COMPOSE | UTF8PROC_COMPAT>},
    {"NFKD", parseUnicodeForm<UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT>},
    {"Lowercase", parseLowercase},
    {"Strip", parseStrip},
    {"Prepend", parsePrepend},
    {"Replace", parseReplace},
    {"ByteLevel", parseByteLevel},
}};

Parsed parseNested(const JsonNode& node, int depth) {
  if (depth > kMaxComponentDepth) return node.refuse("such deep nesting");
  EXO_ASSIGN(const std::string type, node.typeName());
  for (const Kind& kind : kKinds) {
    if (kind.name == type) return kind.parse(node, depth);
  }
  return node.refuse("the normalizer \"" + type + "\"");
}

}  // namespace

Parsed parseNormalizer(const JsonNode& node) {
  if (node.isNull()) return make([](std::string text, Deadline) -> Result<std::string> { return text; });
  return parseNested(node, 0);
}

Result<TextPattern> TextPattern::parse(const JsonNode& node) {
  EXO_TRY(node.requireKeys({"String", "Regex"}));
  if (node.value().size() != 1) return node.wrong("{\"String\": …} or {\"Regex\": …}");
  TextPattern pattern;
  if (node.value().contains("String")) {
    EXO_ASSIGN(pattern.literal_, node.member("String").string());
    if (pattern.literal_.empty()) return node.wrong("a pattern that is not empty");
    return pattern;
  }
  EXO_ASSIGN(const std::string text, node.member("Regex").string());
  auto regex = Regex::compile(text);
  if (!regex.ok()) return std::move(regex).error().note("in " + node.path());
  pattern.regex_ = std::move(regex).value();
  return pattern;
}

Result<std::vector<ByteRange>> TextPattern::findAll(std::string_view text, Deadline deadline) const {
  if (regex_) return regex_->findAll(text, deadline);
  std::vector<ByteRange> matches;
  for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size())) {
    matches.push_back({at, at + literal_.size()});
  }
  return matches;
}

}  // namespace exo::tokenizer
