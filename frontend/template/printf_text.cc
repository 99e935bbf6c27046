// Python's two ways to format: "%5.2f %s" % (…) and "{:>5} {name}".format(…). Conversions d i u s r f F e E g G x X o c %, and in
// braces fill, alignment, sign, 0, width, comma, precision and d s f e g x %; the rest is refused by name.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "frontend/template/builtins.h"
#include "frontend/template/operators.h"
#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

constexpr int kMaxWidth = 10000;

struct Spec {
  char fill = ' ';
  char align = '\0';  // '<' '>' '^' '='; '\0': by type
  char sign = '-';
  bool has_alternate = false;
  bool has_comma = false;
  int width = 0;
  int precision = -1;
  char type = '\0';
};

bool isDigit(char c) { return c >= '0' && c <= '9'; }

Result<int> readNumber(std::string_view text, size_t& at) {
  int number = 0;
  while (at < text.size() && isDigit(text[at])) {
    number = number * 10 + (text[at++] - '0');
    if (number > kMaxWidth) return invalid("a width or precision in a format is above ", kMaxWidth);
  }
  return number;
}

std::string pad(const std::string& body, const Spec& spec, char default_align) {
  size_t length = countCodePoints(body);
  if (static_cast<size_t>(spec.width) <= length) return body;
  size_t missing = static_cast<size_t>(spec.width) - length;
  char align = spec.align == '\0' ? default_align : spec.align;
  if (align == '=') {
    size_t sign = !body.empty() && (body[0] == '-' || body[0] == '+' || body[0] == ' ');
    return body.substr(0, sign) + std::string(missing, spec.fill) + body.substr(sign);
  }
  size_t left = align == '>' ? missing : (align == '^' ? missing / 2 : 0);
  return std::string(left, spec.fill) + body + std::string(missing - left, spec.fill);
}

std::string withSign(bool is_negative, const std::string& digits, const Spec& spec) {
  std::string out;
  if (is_negative) out = "-";
  if (!is_negative && spec.sign != '-') out = spec.sign;
  return out += digits;
}

void insertCommas(std::string& digits) {
  size_t end = std::min(digits.find('.'), digits.size());
  for (size_t i = end; i > 3; i -= 3) digits.insert(i - 3, 1, ',');
}

std::string formatInteger(int64_t value, const Spec& spec) {
  char buffer[32];
  uint64_t magnitude = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  const char* format = spec.type == 'x' ? "%lx" : (spec.type == 'X' ? "%lX" : (spec.type == 'o' ? "%lo" : "%lu"));
  std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned long>(magnitude));
  std::string digits = buffer;
  if (spec.precision > static_cast<int>(digits.size())) digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  if (spec.has_comma) insertCommas(digits);
  if (spec.has_alternate && (spec.type == 'x' || spec.type == 'X' || spec.type == 'o')) digits.insert(0, {'0', spec.type});
  return withSign(value < 0, digits, spec);
}

std::string formatFloat(double value, const Spec& spec) {
  if (!std::isfinite(value)) return withSign(value < 0, std::isnan(value) ? "nan" : "inf", spec);
  char type = spec.type == '%' ? 'f' : spec.type;
  if (spec.type == '%') value *= 100;
  int precision = spec.precision < 0 ? 6 : spec.precision;
  char format[8] = {'%', '.', '*', type, '\0'};
  std::string digits(static_cast<size_t>(precision) + 400, '\0');
  int used = std::snprintf(digits.data(), digits.size(), format, precision, std::fabs(value));
  digits.resize(static_cast<size_t>(used));
  if (spec.has_comma) insertCommas(digits);
  if (spec.type == '%') digits += '%';
  return withSign(std::signbit(value), digits, spec);
}

std::string truncated(std::string text, const Spec& spec) {
  if (spec.precision >= 0) text.resize(byteOffset(text, static_cast<size_t>(spec.precision)));
  return text;
}

/// The arguments of one % formatting.
class Percent {
 public:
  Percent(const std::string& format, const Value& arguments, Budget& budget) : format_(format), arguments_(arguments), budget_(budget) {}

  Result<Value> run() {
    for (size_t at = 0; at < format_.size();) {
      if (format_[at] != '%') {
        out_ += format_[at++];
        continue;
      }
      EXO_TRY(conversion(++at));
      EXO_TRY(budget_.allow(out_.size()));
    }
    bool is_tuple = arguments_.isSequence(SequenceKind::kTuple);
    bool is_left_over = is_tuple ? used_ < arguments_.asSequence().items.size() : (used_ == 0 && !arguments_.isDict() && !isSubscriptable());
    if (is_left_over) return invalid("not all arguments converted during string formatting");
    return Value::string(std::move(out_));
  }

 private:
  bool isSubscriptable() const { return arguments_.isSequence(SequenceKind::kList) || arguments_.isSequence(SequenceKind::kRange); }

  Result<Value> nextArgument() {
    if (!arguments_.isSequence(SequenceKind::kTuple)) {
      if (used_++ > 0) return invalid("not enough arguments for format string");
      return arguments_;
    }
    if (used_ >= arguments_.asSequence().items.size()) return invalid("not enough arguments for format string");
    return arguments_.asSequence().items[used_++];
  }

  Result<Value> namedArgument(size_t& at) {
    size_t end = format_.find(')', at);
    if (end == std::string::npos) return invalid("incomplete format key");
    std::string key = format_.substr(at + 1, end - at - 1);
    at = end + 1;
    if (!arguments_.isDict()) return invalid("format requires a mapping");
    const Value* found = arguments_.asDict().find(std::string_view(key));
    if (found == nullptr) return invalid("the format names the missing key ", reprString(key));
    used_ = 1;
    return *found;
  }

  Status readSpec(size_t& at, Spec& spec) {
    for (; at < format_.size() && std::string_view("-+ 0#").find(format_[at]) != std::string_view::npos; ++at) {
      char flag = format_[at];
      if (flag == '-') spec.align = '<';
      if (flag == '0' && spec.align != '<') spec.fill = '0', spec.align = '=';
      if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
      if (flag == '#') spec.has_alternate = true;
    }
    if (at < format_.size() && format_[at] == '*') return makeError(ErrorCode::kUnsupported, "'*' as width in a % format is not supported");
    EXO_ASSIGN(spec.width, readNumber(format_, at));
    if (at < format_.size() && format_[at] == '.') {
      EXO_ASSIGN(spec.precision, readNumber(format_, ++at));
    }
    if (spec.align == '<') spec.fill = ' ';
    if (at >= format_.size()) return invalid("incomplete format");
    spec.type = format_[at++];
    return {};
  }

  Status conversion(size_t& at) {
    if (at >= format_.size()) return invalid("incomplete format");
    std::optional<Value> named;
    if (format_[at] == '(') {
      EXO_ASSIGN(named, namedArgument(at));
    }
    Spec spec;
    EXO_TRY(readSpec(at, spec));
    if (spec.type == '%') {
      out_ += '%';
      return {};
    }
    if (!named) {
      EXO_ASSIGN(named, nextArgument());
    }
    EXO_ASSIGN(std::string text, convert(*named, spec));
    out_ += text;
    return {};
  }

  Result<std::string> convert(const Value& value, Spec& spec) {
    switch (spec.type) {
      case 's':
      case 'r': {
        EXO_ASSIGN(std::string text, spec.type == 's' ? toText(value, budget_) : toRepr(value, budget_));
        spec.fill = ' ';
        if (spec.align == '=') spec.align = '>';
        return pad(truncated(std::move(text), spec), spec, '>');
      }
      case 'd':
      case 'i':
      case 'u': spec.type = 'd'; [[fallthrough]];
      case 'x':
      case 'X':
      case 'o': return integer(value, spec);
      case 'f':
      case 'F':
      case 'e':
      case 'E':
      case 'g':
      case 'G':
        EXO_TRY(requireDefined(value));
        if (!value.isNumber()) return invalid("must be real number, not ", typeName(value));
        return pad(formatFloat(value.asFloat(), spec), spec, '>');
      default: return makeError(ErrorCode::kUnsupported, "the conversion '%", std::string(1, spec.type), "' is not supported");
    }
  }

  Result<std::string> integer(const Value& value, const Spec& spec) {
    EXO_TRY(requireDefined(value));
    if (value.isIntegral()) return pad(formatInteger(value.asInt(), spec), spec, '>');
    if (value.type() == Type::kFloat && spec.type == 'd' && std::fabs(value.asFloat()) < 9.2e18) {
      return pad(formatInteger(static_cast<int64_t>(value.asFloat()), spec), spec, '>');
    }
    return invalid("%", std::string(1, spec.type), " format: an integer is required, not ", typeName(value));
  }

  const std::string& format_;
  const Value& arguments_;
  Budget& budget_;
  std::string out_;
  size_t used_ = 0;
};

class Braces {
 public:
  explicit Braces(Call& call) : call_(call), format_(call.self.text()) {}

  Result<Value> run() {
    for (size_t at = 0; at < format_.size();) {
      char c = format_[at++];
      if (c != '{' && c != '}') {
        out_ += c;
        continue;
      }
      if (at < format_.size() && format_[at] == c) {
        out_ += c;
        ++at;
        continue;
      }
      if (c == '}') return invalid("Single '}' encountered in format string");
      size_t end = format_.find('}', at);
      if (end == std::string::npos) return invalid("expected '}' before end of string");
      EXO_TRY(field(std::string_view(format_).substr(at, end - at)));
      EXO_TRY(call_.budget.allow(out_.size()));
      at = end + 1;
    }
    return Value::string(std::move(out_));
  }

 private:
  Status field(std::string_view text) {
    if (text.find('{') != std::string_view::npos) return makeError(ErrorCode::kUnsupported, "nested fields in format() are not supported");
    std::string_view spec_text;
    if (size_t colon = text.find(':'); colon != std::string_view::npos) {
      spec_text = text.substr(colon + 1);
      text = text.substr(0, colon);
    }
    char conversion = '\0';
    if (size_t mark = text.find('!'); mark != std::string_view::npos) {
      if (text.size() != mark + 2 || (text[mark + 1] != 'r' && text[mark + 1] != 's')) return makeError(ErrorCode::kUnsupported, "the conversion '", text.substr(mark), "' in format() is not supported");
      conversion = text[mark + 1];
      text = text.substr(0, mark);
    }
    EXO_ASSIGN(Value value, lookup(text));
    if (conversion != '\0') {
      EXO_ASSIGN(std::string converted, conversion == 'r' ? toRepr(value, call_.budget) : toText(value, call_.budget));
      value = Value::string(std::move(converted));
    }
    EXO_ASSIGN(std::string formatted, format(value, spec_text));
    out_ += formatted;
    return {};
  }

  Result<Value> lookup(std::string_view path) {
    size_t end = std::min(path.find_first_of(".["), path.size());
    EXO_ASSIGN(Value value, argument(std::string(path.substr(0, end))));
    while (end < path.size()) {
      bool is_item = path[end] == '[';
      size_t begin = end + 1;
      end = std::min(is_item ? path.find(']', begin) : path.find_first_of(".[", begin), path.size());
      std::string key(path.substr(begin, end - begin));
      if (is_item && end < path.size()) ++end;
      bool is_index = is_item && !key.empty() && key.size() < 10 && std::all_of(key.begin(), key.end(), isDigit);
      auto found = is_item ? getItem(value, is_index ? Value::integer(std::stoi(key)) : Value::string(key), call_.budget) : getAttribute(value, key);
      EXO_ASSIGN(value, std::move(found));
    }
    return value;
  }

  Result<Value> argument(const std::string& key) {
    bool is_index = std::all_of(key.begin(), key.end(), isDigit) && key.size() < 10;
    if (is_index) {
      size_t index = key.empty() ? next_++ : static_cast<size_t>(std::stoi(key));
      if (index >= call_.positional.size()) return invalid("Replacement index ", index, " out of range for positional args tuple");
      return call_.positional[index];
    }
    for (const auto& [name, value] : call_.named) {
      if (name == key) return value;
    }
    return invalid("format() is missing the argument ", reprString(key));
  }

  static bool isAlign(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

  Result<Spec> parseSpec(std::string_view text) {
    Spec spec;
    size_t at = 0;
    if (text.size() > 1 && isAlign(text[1])) {
      spec.fill = text[0];
      spec.align = text[1];
      at = 2;
    } else if (!text.empty() && isAlign(text[0])) {
      spec.align = text[at++];
    }
    if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
    if (at < text.size() && text[at] == '0') {
      if (spec.align == '\0') spec.align = '=', spec.fill = '0';
      ++at;
    }
    EXO_ASSIGN(spec.width, readNumber(text, at));
    if (at < text.size() && text[at] == ',') {
      spec.has_comma = true;
      ++at;
    }
    if (at < text.size() && text[at] == '.') {
      EXO_ASSIGN(spec.precision, readNumber(text, ++at));
    }
    if (at < text.size()) spec.type = text[at++];
    bool is_ok = at == text.size() && (spec.type == '\0' || std::string_view("dsfegx%X").find(spec.type) != std::string_view::npos);
    if (!is_ok || static_cast<unsigned char>(spec.fill) >= 0x80) return makeError(ErrorCode::kUnsupported, "the format '", text, "' in format() is not supported");
    return spec;
  }

  Result<std::string> format(const Value& value, std::string_view text) {
    if (text.empty()) return toText(value, call_.budget);
    EXO_ASSIGN(Spec spec, parseSpec(text));
    if (value.isString() && (spec.type == '\0' || spec.type == 's')) {
      if (spec.align == '=') spec.align = '<';
      return pad(truncated(value.text(), spec), spec, '<');
    }
    bool is_integer_type = spec.type == '\0' || spec.type == 'd' || spec.type == 'x' || spec.type == 'X';
    if (value.isIntegral() && is_integer_type) return pad(formatInteger(value.asInt(), spec), spec, '>');
    bool is_float_type = spec.type != '\0' && std::string_view("feg%").find(spec.type) != std::string_view::npos;
    if (value.isNumber() && is_float_type) return pad(formatFloat(value.asFloat(), spec), spec, '>');
    return makeError(ErrorCode::kUnsupported, "the format '", text, "' for a ", typeName(value), " is not supported");
  }

  Call& call_;
  const std::string& format_;
  std::string out_;
  size_t next_ = 0;
};

}  // namespace

Result<Value> formatPercent(const Value& format, const Value& arguments, Budget& budget) {
  return Percent(format.text(), arguments, budget).run();
}

Result<Value> formatBraces(Call& call) { return Braces(call).run(); }

}  // namespace exo::jinja
