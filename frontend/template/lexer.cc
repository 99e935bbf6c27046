#include "frontend/template/lexer.h"

#include <algorithm>
#include <charconv>

#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/// Only \n, and without the one newline a file ends with.
std::string normalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

/// Python's "unicode-escape" on a string literal's inside.
class Unescape {
 public:
  explicit Unescape(std::string_view text) : text_(text) {}

  Result<std::string> run() {
    while (at_ < text_.size()) {
      if (text_[at_] != '\\') {
        out_ += text_[at_++];
        continue;
      }
      ++at_;
      EXO_TRY(escape());
    }
    return std::move(out_);
  }

 private:
  Status escape() {
    if (at_ >= text_.size()) return invalid("\\ at the end of a string");
    if (static_cast<unsigned char>(text_[at_]) >= 0x80) return escapedNonAscii();
    char c = text_[at_++];
    constexpr std::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
    if (size_t index = kFrom.find(c); index != std::string_view::npos) {
      out_ += kTo[index];
      return {};
    }
    switch (c) {
      case '\n': return {};
      case 'x': return hex(2);
      case 'u': return hex(4);
      case 'U': return hex(8);
      case 'N': return makeError(ErrorCode::kUnsupported, "\\N{…} in a string is not supported");
      default: break;
    }
    if (c >= '0' && c <= '7') return octal(c);
    out_ += '\\';
    out_ += c;
    return {};
  }
  Status hex(size_t digits) {
    uint32_t code = 0;
    if (text_.size() - at_ < digits) return invalid("truncated \\x, \\u or \\U escape in a string");
    auto [end, problem] = std::from_chars(text_.data() + at_, text_.data() + at_ + digits, code, 16);
    if (problem != std::errc() || end != text_.data() + at_ + digits) return invalid("truncated \\x, \\u or \\U escape in a string");
    at_ += digits;
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return invalid("an escape in a string names the illegal code point ", code);
    appendUtf8(out_, code);
    return {};
  }
  Status octal(char first) {
    uint32_t code = static_cast<uint32_t>(first - '0');
    for (int i = 0; i < 2 && at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '7'; ++i) code = code * 8 + static_cast<uint32_t>(text_[at_++] - '0');
    appendUtf8(out_, code);
    return {};
  }
  /// Jinja escapes non-ASCII letters before it resolves escapes, so that "\é" becomes the four characters \xe9.
  Status escapedNonAscii() {
    char32_t code = nextCodePoint(text_, at_);
    char buffer[16];
    std::snprintf(buffer, sizeof buffer, code < 0x100 ? "\\x%02x" : (code < 0x10000 ? "\\u%04x" : "\\U%08x"), static_cast<unsigned>(code));
    out_ += buffer;
    return {};
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string out_;
};

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) EXO_TRY(lexRoot());
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }
  Error fail(const std::string& message, ErrorCode code = ErrorCode::kInvalidInput) const { return templateError(line_, message, code); }
  bool startsWith(std::string_view text) const { return std::string_view(source_).substr(at_).starts_with(text); }
  char peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  void advanceTo(size_t position) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(position), '\n'));
    at_ = position;
  }
  size_t afterSpace(size_t position) const {
    while (position < source_.size()) {
      size_t next = position;
      if (!isSpace(nextCodePoint(source_, next))) break;
      position = next;
    }
    return position;
  }
  /// After a tag's end: -x eats whitespace, x one newline (unless a variable's), +x nothing.
  void finishTag(char sign, bool trims_newline) {
    size_t position = at_;
    if (sign == '-') {
      position = afterSpace(position);
    } else if (sign != '+' && trims_newline && peek() == '\n') {
      ++position;
    }
    advanceTo(position);
    is_line_start_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  size_t findTag() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '%' || source_[i + 1] == '{' || source_[i + 1] == '#')) return i;
    }
    return source_.size();
  }

  /// The text before a tag, stripped as the tag's sign (or lstrip_blocks) says.
  void addText(size_t end, char sign, bool is_variable) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (sign == '-') {
      text = stripSpace(text, Sides::kRight);
    } else if (sign != '+' && !is_variable) {
      size_t line_start = text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n') + 1;
      bool may_strip = line_start > 0 || is_line_start_;
      if (may_strip && stripSpace(text.substr(line_start), Sides::kLeft).empty()) text = text.substr(0, line_start);
    }
    if (!text.empty()) add(TokenKind::kText, std::string(text));
    advanceTo(end);
  }

  Status lexRoot() {
    size_t tag = findTag();
    if (tag == source_.size()) {
      add(TokenKind::kText, source_.substr(at_));
      advanceTo(tag);
      return {};
    }
    char kind = source_[tag + 1];
    char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign != '-' && sign != '+') sign = '\0';
    addText(tag, sign, kind == '{');
    size_t inside = tag + 2 + (sign != '\0');
    if (kind == '#') return lexComment(inside);
    if (kind == '%' && rawEnd(inside) != 0) return lexRaw(inside);
    add(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, source_.substr(tag, 2));
    advanceTo(inside);
    return lexTag(kind);
  }

  Status lexComment(size_t inside) {
    size_t end = source_.find("#}", inside);
    if (end == std::string::npos) return fail("a comment is not closed: expected '#}'");
    char sign = end > inside ? source_[end - 1] : '\0';
    advanceTo(end + 2);
    finishTag(sign, true);
    return {};
  }

  /// Position after `raw %}`, or 0 if `inside` does not begin a raw block.
  size_t rawEnd(size_t inside) const {
    size_t position = afterSpace(inside);
    if (source_.compare(position, 3, "raw") != 0) return 0;
    position = afterSpace(position + 3);
    if (source_.compare(position, 3, "-%}") == 0) return afterSpace(position + 3);
    return source_.compare(position, 2, "%}") == 0 ? position + 2 : 0;
  }

  Status lexRaw(size_t inside) {
    advanceTo(rawEnd(inside));
    is_line_start_ = at_ > 0 && source_[at_ - 1] == '\n';
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      if (sign != '-' && sign != '+') sign = '\0';
      size_t position = afterSpace(tag + 2 + (sign != '\0'));
      if (source_.compare(position, 6, "endraw") != 0) continue;
      position = afterSpace(position + 6);
      char end_sign = position < source_.size() ? source_[position] : '\0';
      if (end_sign == '-' || end_sign == '+') ++position;
      if (source_.compare(position, 2, "%}") != 0) continue;
      addText(tag, sign, false);
      advanceTo(position + 2);
      finishTag(end_sign, true);
      return {};
    }
    return fail("a raw block is not closed: expected '{% endraw %}'");
  }

  Status lexTag(char kind) {
    std::string_view end = kind == '{' ? "}}" : "%}";
    std::string brackets;
    while (true) {
      if (at_ >= source_.size()) return fail("the template ends inside a tag: expected '" + std::string(end) + "'");
      if (brackets.empty() && lexTagEnd(kind, end)) return {};
      size_t next = afterSpace(at_);
      if (next != at_) {
        advanceTo(next);
        continue;
      }
      EXO_TRY(lexToken(brackets));
    }
  }

  bool lexTagEnd(char kind, std::string_view end) {
    char sign = peek() == '-' || (peek() == '+' && kind == '%') ? peek() : '\0';
    size_t skip = sign != '\0';
    if (std::string_view(source_).substr(at_ + skip, 2) != end) return false;
    add(kind == '{' ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, std::string(end));
    advanceTo(at_ + skip + 2);
    finishTag(sign, kind == '%');
    return true;
  }

  Status lexToken(std::string& brackets) {
    char c = peek();
    if (isDigit(c)) return lexNumber();
    if (isNameStart(c)) {
      size_t end = at_;
      while (end < source_.size() && (isNameStart(source_[end]) || isDigit(source_[end]))) ++end;
      add(TokenKind::kName, source_.substr(at_, end - at_));
      advanceTo(end);
      return {};
    }
    if (c == '"' || c == '\'') return lexString(c);
    return lexOperator(brackets);
  }

  Status lexString(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return fail("a string is not closed: expected " + std::string(1, quote));
    auto text = Unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1)).run();
    if (!text.ok()) return fail(text.error().message(), text.error().code());
    add(TokenKind::kString, std::move(text).value());
    advanceTo(end + 1);
    return {};
  }

  /// Digits with single underscores between them, appended without these.
  size_t scanDigits(size_t position, std::string& out) const {
    while (position < source_.size()) {
      if (isDigit(source_[position])) {
        out += source_[position++];
      } else if (source_[position] == '_' && position + 1 < source_.size() && isDigit(source_[position + 1])) {
        ++position;
      } else {
        break;
      }
    }
    return position;
  }

  Status lexNumber() {
    char next = static_cast<char>(peek(1) | 0x20);
    if (peek() == '0' && (next == 'x' || next == 'o' || next == 'b')) {
      return fail("hexadecimal, octal and binary numbers are not supported", ErrorCode::kUnsupported);
    }
    std::string digits;
    size_t end = scanDigits(at_, digits);
    bool is_float = false;
    // After a dot (x.0.1) a number is an index, never a fraction.
    bool may_be_float = at_ == 0 || source_[at_ - 1] != '.';
    if (may_be_float && end + 1 < source_.size() && source_[end] == '.' && isDigit(source_[end + 1])) {
      digits += '.';
      end = scanDigits(end + 1, digits);
      is_float = true;
    }
    if (may_be_float && end < source_.size() && (source_[end] | 0x20) == 'e') {
      std::string exponent = "e";
      size_t position = end + 1;
      if (position < source_.size() && (source_[position] == '+' || source_[position] == '-')) {
        if (source_[position] == '-') exponent += '-';
        ++position;
      }
      if (position < source_.size() && isDigit(source_[position])) {
        end = scanDigits(position, exponent);
        digits += exponent;
        is_float = true;
      }
    }
    return is_float ? addFloat(digits, end) : addInteger(digits, end);
  }

  Status addFloat(const std::string& digits, size_t end) {
    Token token{TokenKind::kFloat, line_, digits};
    auto problem = std::from_chars(digits.data(), digits.data() + digits.size(), token.real).ec;
    if (problem != std::errc()) return fail("the number " + digits + " is out of range");
    tokens_.push_back(std::move(token));
    advanceTo(end);
    return {};
  }

  Status addInteger(const std::string& digits, size_t end) {
    if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos) return fail("the number " + digits + " begins with 0");
    Token token{TokenKind::kInteger, line_, digits};
    auto problem = std::from_chars(digits.data(), digits.data() + digits.size(), token.integer).ec;
    if (problem != std::errc()) return fail("the integer " + digits + " does not fit 64 bits");
    tokens_.push_back(std::move(token));
    advanceTo(end);
    return {};
  }

  Status lexOperator(std::string& brackets) {
    for (std::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!startsWith(op)) continue;
      add(TokenKind::kOperator, std::string(op));
      advanceTo(at_ + 2);
      return {};
    }
    char c = peek();
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos || c == '\0') return failCharacter();
    if (c == '(' || c == '[' || c == '{') brackets += c == '(' ? ')' : (c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty()) return fail(std::string("unexpected '") + c + "'");
      if (brackets.back() != c) return fail(std::string("unexpected '") + c + "', expected '" + brackets.back() + "'");
      brackets.pop_back();
    }
    add(TokenKind::kOperator, std::string(1, c));
    advanceTo(at_ + 1);
    return {};
  }

  Error failCharacter() const {
    size_t end = at_;
    nextCodePoint(source_, end);
    return fail("unexpected character " + reprString(end) + " in a tag");
  }
  std::string reprString(size_t end) const { return "'" + source_.substr(at_, end - at_) + "'"; }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool is_line_start_ = true;  // the last tag ended with a newline
  std::vector<Token> tokens_;
};

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd: return "the end of the template";
    case TokenKind::kText: return "text";
    case TokenKind::kString: return "a string";
    case TokenKind::kVariableBegin: return "'{{'";
    case TokenKind::kBlockBegin: return "'{%'";
    default: return "'" + token.text + "'";
  }
}

Error templateError(int line, const std::string& message, ErrorCode code) {
  return makeError(code, "chat template, line ", line, ": ", message);
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  if (!isValidUtf8(source)) return invalid("the chat template is not valid UTF-8");
  return Lexer(normalizeNewlines(source)).run();
}

}  // namespace exo::jinja
