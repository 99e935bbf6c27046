// Oniguruma's Ruby dialect rewritten for PCRE2. What differs:
//   \s \S \w \W \d \b \B   other Unicode sets (PCRE2's \s has U+180E, its \w lacks marks)    → property classes
//   \h \v \u               hexadecimal digit, vertical tab, code point                        → spelled out
//   \p{Han}                PCRE2 means script extensions, Oniguruma the script                → \p{sc:Han}
//   [a&&[^b]]              intersection of sets                                               → lookahead and a set
//   {,n}                   from zero                                                          → {0,n}
//   (?m:…)                 dot matches newline                                                → (?s:…)
// Everything else that the two read differently is refused by name.
#include <algorithm>
#include <array>
#include <cctype>

#include "frontend/tokenizer/regex.h"

namespace exo::tokenizer {
namespace {

constexpr std::string_view kWordSet = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kHexSet = "0-9a-fA-F";
constexpr std::array<std::string_view, 16> kScripts = {"Han",      "Hiragana", "Katakana", "Latin",   "Cyrillic", "Arabic",
                                                       "Hangul",   "Thai",     "Greek",    "Hebrew",  "Armenian", "Bengali",
                                                       "Georgian", "Tamil",    "Ethiopic", "Devanagari"};
constexpr int kMaxSetDepth = 8;

enum class Place { kOutside, kInSet };

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    while (!atEnd()) EXO_TRY(item());
    return std::move(out_);
  }

 private:
  bool atEnd() const { return at_ >= in_.size(); }
  bool startsWith(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  char take() { return in_[at_++]; }

  Error refuse(std::string_view what) const {
    return makeError(ErrorCode::kUnsupported, "regular expression \"", in_, "\": ", what, " at ", at_, " is not supported");
  }

  Status item() {
    switch (in_[at_]) {
      case '\\': {
        EXO_ASSIGN(const std::string text, escape(Place::kOutside));
        out_ += text;
        return {};
      }
      case '[': {
        EXO_ASSIGN(const std::string text, set(0));
        out_ += text;
        return {};
      }
      case '(': return group();
      case '{': return interval();
      default: out_ += take(); return {};
    }
  }

  // Only what both dialects spell alike, and the flags i and m.
  Status group() {
    for (const std::string_view same : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (!startsWith(same)) continue;
      out_ += same;
      at_ += same.size();
      return {};
    }
    if (startsWith("(?")) return flags();
    if (startsWith("(*")) return refuse("(*");
    out_ += take();
    return {};
  }

  Status flags() {
    out_ += "(?";
    at_ += 2;
    while (!atEnd() && in_[at_] != ':' && in_[at_] != ')') {
      const char flag = take();
      if (flag != 'i' && flag != 'm' && flag != '-') return refuse(std::string("the group (?") + flag);
      out_ += flag == 'm' ? 's' : flag;
    }
    return {};
  }

  Status interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) ++end;
    if (end >= in_.size() || in_[end] != '}') {
      out_ += "\\{";  // not an interval: a literal brace in both
      ++at_;
      return {};
    }
    // Ruby repeats {1,3}+ once more, PCRE2 makes it possessive.
    if (end + 1 < in_.size() && in_[end + 1] == '+') return refuse("an interval followed by +");
    std::string text(in_.substr(at_, end + 1 - at_));
    if (text.starts_with("{,")) text.insert(1, "0");
    out_ += text;
    at_ = end + 1;
    return {};
  }

  /// A set, from its "[" to its "]", as one PCRE2 atom.
  Result<std::string> set(int depth) {
    if (depth > kMaxSetDepth) return refuse("such deep nesting of sets");
    ++at_;
    const bool negated = startsWith("^");
    std::string members, conditions;
    if (negated) ++at_;
    if (startsWith("]")) return refuse("a set that begins with ]");
    while (!atEnd() && in_[at_] != ']') {
      if (startsWith("&&[")) {
        if (negated) return refuse("&& in a negated set");
        at_ += 2;
        EXO_ASSIGN(const std::string other, set(depth + 1));
        if (!startsWith("]") && !startsWith("&&[")) return refuse("&& followed by more than one set");
        conditions += "(?=" + other + ")";
      } else if (startsWith("&&")) {
        return refuse("&& without a set behind it");
      } else if (in_[at_] == '[') {
        return refuse("a set inside a set");
      } else if (in_[at_] == '\\') {
        EXO_ASSIGN(const std::string text, escape(Place::kInSet));
        members += text;
      } else {
        members += take();
      }
    }
    if (atEnd()) return invalid("regular expression \"", in_, "\": a set has no closing ]");
    ++at_;
    const std::string plain = std::string(negated ? "[^" : "[") + members + "]";
    if (conditions.empty()) return plain;
    if (members.empty()) return refuse("&& without a left side");
    return "(?:" + conditions + plain + ")";
  }

  static std::string asSet(Place place, std::string_view members) {
    return place == Place::kInSet ? std::string(members) : "[" + std::string(members) + "]";
  }

  Result<std::string> escape(Place place) {
    if (at_ + 1 >= in_.size()) return invalid("regular expression \"", in_, "\" ends with a backslash");
    ++at_;
    const char c = take();
    const std::string word(kWordSet), hex(kHexSet);
    switch (c) {
      case 's': return std::string(R"(\p{White_Space})");
      case 'S': return std::string(R"(\P{White_Space})");
      case 'd': return std::string(R"(\p{Nd})");
      case 'D': return std::string(R"(\P{Nd})");
      case 'w': return asSet(place, word);
      case 'h': return asSet(place, hex);
      case 'v': return std::string(R"(\x0b)");
      case 'p':
      case 'P': return property(c);
      case 'u': return codePoint();
      case 'x': return hexadecimal();
      default: break;
    }
    if (place == Place::kOutside) {
      if (c == 'W') return "[^" + word + "]";
      if (c == 'H') return "[^" + hex + "]";
      if (c == 'b') return "(?:(?<=[" + word + "])(?![" + word + "])|(?<![" + word + "])(?=[" + word + "]))";
      if (c == 'B') return "(?:(?<=[" + word + "])(?=[" + word + "])|(?<![" + word + "])(?![" + word + "]))";
      if (std::string_view("Az").find(c) != std::string_view::npos) return std::string("\\") + c;
    }
    const bool plain = !std::isalnum(static_cast<unsigned char>(c)) || std::string_view("rntfae0").find(c) != std::string_view::npos;
    if (!plain) return refuse(std::string("\\") + c);
    return std::string("\\") + c;
  }

  Result<std::string> property(char letter) {
    const size_t end = in_.find('}', at_);
    if (!startsWith("{") || end == std::string_view::npos) return refuse("\\p without {name}");
    std::string name(in_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    const std::string_view bare = std::string_view(name).substr(name.starts_with("^") ? 1 : 0);
    const std::string caret = name.starts_with("^") ? "^" : "";
    const std::string begin = std::string("\\") + letter + "{" + caret;
    if (std::find(kScripts.begin(), kScripts.end(), bare) != kScripts.end()) return begin + "sc:" + std::string(bare) + "}";
    if (bare.size() > 2 && bare != "Any" && bare != "Alphabetic") return refuse("the property " + name);
    return begin + std::string(bare) + "}";
  }

  // \xHH above 7F is one byte of a sequence in Oniguruma, a code point in PCRE2.
  Result<std::string> hexadecimal() {
    const size_t end = startsWith("{") ? in_.find('}', at_) : std::string_view::npos;
    if (end != std::string_view::npos) {
      const std::string text(in_.substr(at_, end + 1 - at_));
      at_ = end + 1;
      return "\\x" + text;
    }
    const std::string digits(in_.substr(std::min(at_, in_.size()), 2));
    const bool ascii = digits.size() == 2 && digits[0] >= '0' && digits[0] <= '7' && std::isxdigit(static_cast<unsigned char>(digits[1]));
    if (!ascii) return refuse("\\x without two hexadecimal digits up to 7F");
    at_ += 2;
    return "\\x" + digits;
  }

  Result<std::string> codePoint() {
    const std::string digits(in_.substr(std::min(at_, in_.size()), 4));
    const bool hex = digits.size() == 4 && std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isxdigit(c); });
    if (!hex) return refuse("\\u without four hexadecimal digits");
    at_ += 4;
    return "\\x{" + digits + "}";
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> translateRegex(std::string_view oniguruma) { return Translator(oniguruma).run(); }

}  // namespace exo::tokenizer
