#include "executor/serve/grammar/regex.h"

#include <optional>

namespace exo::serve {
namespace {

constexpr int kMaxDepth = 50;
constexpr uint32_t kMaxCount = 65536;
constexpr size_t kMaxPatternBytes = 65536;

const CodePoints kDigits = {{'0', '9'}};
const CodePoints kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePoints kSpace = {{'\t', '\r'}, {' ', ' '}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
const CodePoints kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

/// Recursive descent: alternatives → sequence → piece with its count → atom.
class Parser {
 public:
  Parser(std::string_view text, const Spelling& spelling) : text_(text), spelling_(spelling) {}

  Result<Expr> parse() {
    const Expr anything = repeat(spell(complement({})), 0, kUnbounded);
    std::vector<Expr> whole;
    if (text_.size() > kMaxPatternBytes) return invalid("regular expression: expected at most ", kMaxPatternBytes, " bytes, got ", text_.size());
    // Anchors of a whole alternative are part of it: ^a|b$ begins with a, or ends with b.
    do {
      std::vector<Expr> parts;
      if (!take('^')) parts.push_back(anything);
      EXO_ASSIGN(Expr body, parseSequence());
      parts.push_back(std::move(body));
      if (!take('$')) parts.push_back(anything);
      whole.push_back(sequence(std::move(parts)));
    } while (take('|'));
    if (!done()) return error("expected the end");
    return choice(std::move(whole));
  }

 private:
  bool done() const { return at_ == text_.size(); }
  bool next(char c) const { return !done() && text_[at_] == c; }
  bool take(char c) {
    if (!next(c)) return false;
    ++at_;
    return true;
  }
  Error error(const std::string& what) const { return invalid("regular expression, at byte ", at_, ": ", what); }
  Error unsupported(const std::string& what) const { return makeError(ErrorCode::kUnsupported, "regular expression, at byte ", at_, ": ", what, " is not supported"); }
  Expr spell(const CodePoints& points) const { return spelling_ ? spelling_(points) : character(points); }

  Result<Expr> parseAlternatives() {
    std::vector<Expr> ways;
    do {
      EXO_ASSIGN(Expr way, parseSequence());
      ways.push_back(std::move(way));
    } while (take('|'));
    return choice(std::move(ways));
  }

  Result<Expr> parseSequence() {
    std::vector<Expr> parts;
    while (!done() && !next('|') && !next(')') && !next('$')) {
      EXO_ASSIGN(Expr atom, parseAtom());
      EXO_ASSIGN(Expr piece, parseCount(std::move(atom)));
      parts.push_back(std::move(piece));
    }
    if (next('$') && at_ + 1 < text_.size() && text_[at_ + 1] != '|') return unsupported("$ before the end");
    if (next('$') && depth_ > 0) return unsupported("$ inside a group");
    return sequence(std::move(parts));
  }

  Result<Expr> parseAtom() {
    if (next('^')) return unsupported("^ after the beginning");
    if (next('*') || next('+') || next('?')) return error("nothing to repeat");
    if (take('.')) return spell(complement(kLineEnds));
    if (take('(')) return parseGroup();
    if (next('[')) {
      EXO_ASSIGN(const CodePoints points, parseClass());
      return points.empty() ? choice({}) : spell(points);
    }
    EXO_ASSIGN(const CodePoints points, parseCharacter());
    return spell(points);
  }

  Result<Expr> parseGroup() {
    if (++depth_ > kMaxDepth) return error("nested deeper than " + std::to_string(kMaxDepth));
    if (take('?')) {
      if (take('<')) {
        if (next('=') || next('!')) return unsupported("a look behind");
        const size_t end = text_.find('>', at_);
        if (end == std::string_view::npos) return error("a group's name has no end");
        at_ = end + 1;
      } else if (!take(':')) {
        return unsupported("a look ahead");
      }
    }
    EXO_ASSIGN(Expr inner, parseAlternatives());
    if (!take(')')) return error("expected )");
    --depth_;
    return inner;
  }

  Result<Expr> parseCount(Expr atom) {
    uint32_t min = 1, max = 1;
    if (take('*')) min = 0, max = kUnbounded;
    else if (take('+')) max = kUnbounded;
    else if (take('?')) min = 0;
    else if (next('{') && at_ + 1 < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_ + 1]))) {
      ++at_;
      EXO_ASSIGN(min, parseNumber());
      max = min;
      if (take(',')) {
        max = kUnbounded;
        if (!next('}')) {
          EXO_ASSIGN(max, parseNumber());
        }
      }
      if (!take('}')) return error("expected }");
      if (max < min) return error("the counts are in the wrong order");
    } else {
      return atom;
    }
    take('?');   // lazy: which of the texts is found first does not matter here
    return repeat(std::move(atom), min, max);
  }

  Result<uint32_t> parseNumber() {
    uint32_t number = 0;
    while (!done() && std::isdigit(static_cast<unsigned char>(text_[at_]))) {
      number = number * 10 + static_cast<uint32_t>(text_[at_++] - '0');
      if (number > kMaxCount) return error("expected a count of at most " + std::to_string(kMaxCount));
    }
    return number;
  }

  Result<CodePoints> parseClass() {
    take('[');
    const bool inverted = take('^');
    CodePoints points;
    while (!take(']')) {
      if (done()) return error("expected ]");
      EXO_ASSIGN(const CodePoints from, parseCharacter());
      const bool single = from.size() == 1 && from[0].first == from[0].second;
      if (single && next('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        EXO_ASSIGN(const CodePoints to, parseCharacter());
        if (to.size() != 1 || to[0].first != to[0].second || to[0].first < from[0].first) return error("a range that is none");
        points.emplace_back(from[0].first, to[0].first);
      } else {
        points.insert(points.end(), from.begin(), from.end());
      }
    }
    return inverted ? complement(std::move(points)) : points;
  }

  /// One character, or what an escape stands for.
  Result<CodePoints> parseCharacter() {
    if (take('\\')) return parseEscape();
    const auto lead = static_cast<unsigned char>(text_[at_]);
    const size_t size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead >= 0x80 && (lead < 0xc2 || at_ + size > text_.size())) return error("expected UTF-8");
    uint32_t point = size == 1 ? lead : lead & (0x7fu >> size);
    for (size_t i = 1; i < size; ++i) point = point << 6 | (static_cast<unsigned char>(text_[at_ + i]) & 63);
    at_ += size;
    return CodePoints{{point, point}};
  }

  Result<CodePoints> parseEscape() {
    if (done()) return error("nothing after \\");
    const char c = text_[at_++];
    switch (c) {
      case 'd': return kDigits;
      case 'D': return complement(kDigits);
      case 'w': return kWord;
      case 'W': return complement(kWord);
      case 's': return kSpace;
      case 'S': return complement(kSpace);
      case 't': return one('\t');
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case '0': return one(0);
      case 'x': return parseHex(2);
      case 'u': return next('{') ? parseBraced() : parseHex(4);
      default: break;
    }
    if (std::isalnum(static_cast<unsigned char>(c))) return unsupported(std::string("\\") + c);
    if (static_cast<unsigned char>(c) < 0x80) return one(static_cast<unsigned char>(c));
    --at_;
    return parseCharacter();
  }

  static CodePoints one(uint32_t point) { return {{point, point}}; }

  Result<CodePoints> parseBraced() {
    take('{');
    const size_t end = text_.find('}', at_);
    if (end == std::string_view::npos || end == at_ || end - at_ > 6) return error("expected \\u{…}");
    EXO_ASSIGN(CodePoints point, parseHex(end - at_));
    take('}');
    return point;
  }

  Result<CodePoints> parseHex(size_t digits) {
    uint32_t point = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (done() || !std::isxdigit(static_cast<unsigned char>(text_[at_]))) return error("expected a hexadecimal digit");
      const char c = text_[at_++];
      point = point * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    if (point > kLastCodePoint || (point >= 0xd800 && point <= 0xdfff)) return error("expected a character's number");
    return one(point);
  }

  std::string_view text_;
  const Spelling& spelling_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Result<Expr> regexExpression(std::string_view pattern, const Spelling& spelling) { return Parser(pattern, spelling).parse(); }

}  // namespace exo::serve
