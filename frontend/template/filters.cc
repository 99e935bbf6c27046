// The filters of `value|filter(arguments)`, with Jinja's defaults; `tojson` is transformers'. One table lists them.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "frontend/template/builtins.h"
#include "frontend/template/operators.h"
#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

using Filter = Result<Value> (*)(Call&);
struct FilterEntry {
  std::string_view name;
  Filter filter;
  Quotes quotes = Quotes::kKept;
};

Status noArguments(const Call& call) {
  EXO_ASSIGN(Bound none, bind(call, {}));
  return {};
}
Result<std::string> selfText(Call& call) {
  EXO_TRY(noArguments(call));
  return toText(call.self, call.budget);
}

// ---- attributes by path: "function.name", "tags.0"

using Path = std::vector<Value>;

Result<Path> attributePath(const Value& attribute) {
  Path path;
  if (attribute.isNone()) return path;
  if (!attribute.isString()) {
    path.push_back(attribute);
    return path;
  }
  for (std::string_view part : splitOn(attribute.text(), ".", -1)) {
    int64_t index = 0;
    bool is_index = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (is_index && std::from_chars(part.data(), part.data() + part.size(), index).ec != std::errc()) return invalid("the index ", part, " is out of range");
    path.push_back(is_index ? Value::integer(index) : Value::string(std::string(part)));
  }
  return path;
}

Result<Value> follow(Value value, const Path& path, const std::optional<Value>& fallback, Budget& budget) {
  for (const Value& step : path) {
    EXO_ASSIGN(value, getItem(value, step, budget));
    if (fallback && value.isUndefined()) value = *fallback;
  }
  return value;
}

Value ignoreCase(Value value) { return value.isString() ? Value::string(lowerCase(value.text())) : value; }

// ---- text

template <std::string (*Map)(std::string_view)>
Result<Value> mapped(Call& call) {
  EXO_ASSIGN(std::string text, selfText(call));
  return Value::string(Map(text));
}

/// Jinja's title: a word begins after a space, hyphen or opening bracket.
std::string titled(std::string_view text) {
  std::string out;
  bool starts_word = true;
  for (size_t i = 0; i < text.size();) {
    size_t begin = i;
    char32_t code = nextCodePoint(text, i);
    std::string_view letter = text.substr(begin, i - begin);
    bool separates = isSpace(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
    out += separates ? std::string(letter) : (starts_word ? upperCase(letter) : lowerCase(letter));
    starts_word = separates;
  }
  return out;
}

Result<Value> trim(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"chars"}));
  EXO_ASSIGN(const QuotedText text, toQuotedText(call.self, call.budget));
  if (!arguments[0] || arguments[0]->isNone()) return Value::string(text.part(stripSpace(text.text, Sides::kBoth)));
  if (!arguments[0]->isString()) return invalid("strip arg must be None or str");
  return Value::string(text.part(stripSet(text.text, arguments[0]->text(), Sides::kBoth)));
}

Result<Value> string(Call& call) {
  if (call.self.isMarkup() && call.positional.empty() && call.named.empty()) return call.self;
  EXO_TRY(noArguments(call));
  EXO_ASSIGN(QuotedText text, toQuotedText(call.self, call.budget));
  return Value::string(std::move(text));
}

Result<Value> safe(Call& call) {
  EXO_TRY(noArguments(call));
  EXO_ASSIGN(QuotedText text, toQuotedText(call.self, call.budget));
  return Value::markup(std::move(text));
}

Result<Value> replace(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"old", "new", "count"}, 2));
  EXO_ASSIGN(const QuotedText text, toQuotedText(call.self, call.budget));
  EXO_ASSIGN(const std::string from, toText(*arguments[0], call.budget));
  EXO_ASSIGN(const QuotedText to, toQuotedText(*arguments[1], call.budget));
  EXO_ASSIGN(int64_t count, integerArgument(call, arguments[2], "count", -1));
  return replaceText(text, from, to, count, call.budget);
}

Result<Value> indent(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"width", "first", "blank"}));
  EXO_TRY(requireDefined(call.self));
  if (!call.self.isString()) return invalid("'indent' needs a str, got ", typeName(call.self));
  EXO_ASSIGN(bool indents_first, boolArgument(arguments[1], false));
  EXO_ASSIGN(bool indents_blank, boolArgument(arguments[2], false));
  std::string indention;
  if (arguments[0] && arguments[0]->isString()) {
    indention = arguments[0]->text();
  } else {
    EXO_ASSIGN(int64_t width, integerArgument(call, arguments[0], "width", 4));
    EXO_TRY(call.budget.allow(static_cast<size_t>(std::max<int64_t>(width, 0))));
    indention.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  std::string text = call.self.text() + "\n";
  auto lines = splitLines(text, false);
  std::string out = indents_first ? indention : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    if (i > 0 && (indents_blank || !lines[i].empty())) out += indention;
    out += lines[i];
    if (out.size() > call.budget.maxBytes()) return Error(call.budget.allow(out.size()).error());
  }
  EXO_TRY(call.budget.allow(out.size()));
  return Value::string(std::move(out));
}

Result<Value> format(Call& call) {
  EXO_ASSIGN(std::string text, toText(call.self, call.budget));
  if (!call.positional.empty() && !call.named.empty()) return invalid("'format' cannot take positional and named arguments at once");
  if (call.named.empty()) {
    EXO_ASSIGN(Value arguments, Value::tuple(call.positional));
    return formatPercent(Value::string(text), arguments, call.budget);
  }
  Dict dict;
  for (const auto& [name, value] : call.named) dict.set(Value::string(name), value, call.budget);
  EXO_ASSIGN(Value arguments, Value::dict(std::move(dict)));
  return formatPercent(Value::string(text), arguments, call.budget);
}

Result<Value> tojson(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  EXO_ASSIGN(style.is_ascii, boolArgument(arguments[0], false));
  EXO_ASSIGN(style.sorts_keys, boolArgument(arguments[3], false));
  if (arguments[1] && !arguments[1]->isNone()) {
    style.item_separator = ",";
    if (arguments[1]->isString()) {
      style.indent = arguments[1]->text();
    } else {
      EXO_ASSIGN(int64_t width, integerArgument(call, arguments[1], "indent", 0));
      if (width > 64) return invalid("'tojson' can indent by at most 64, got ", width);
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (arguments[2] && !arguments[2]->isNone()) {
    EXO_ASSIGN(auto separators, iterate(*arguments[2], call.budget));
    if (separators.size() != 2 || !separators[0].isString() || !separators[1].isString()) return invalid("'tojson' needs two strings as separators");
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  EXO_ASSIGN(std::string text, toJson(call.self, style, call.budget));
  return Value::string(std::move(text));
}

// ---- numbers

Result<Value> absolute(Call& call) {
  EXO_TRY(noArguments(call));
  if (call.self.type() == Type::kFloat) return Value::real(std::fabs(call.self.asFloat()));
  if (!call.self.isIntegral()) return invalid("bad operand type for abs(): '", typeName(call.self), "'");
  return call.self.asInt() < 0 ? negate(call.self) : Value::integer(call.self.asInt());
}

/// Python's float(text): surrounding whitespace, a sign, digits with _, inf and nan.
std::optional<double> parseFloat(std::string_view text) {
  text = stripSpace(text, Sides::kBoth);
  bool is_negative = text.starts_with('-');
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text[0] == '-' || text.find_first_of("pP(") != std::string_view::npos) return std::nullopt;
  double value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || problem == std::errc::invalid_argument) return std::nullopt;
  return is_negative ? -value : value;
}

Result<std::optional<int64_t>> parseInteger(std::string_view text, int base) {
  text = stripSpace(text, Sides::kBoth);
  std::string digits;
  if (text.starts_with('-')) digits = "-";
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  for (auto [prefix, prefix_base] : {std::pair{'x', 16}, std::pair{'o', 8}, std::pair{'b', 2}}) {
    if (base == prefix_base && text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == prefix) text.remove_prefix(2);
  }
  if (text.empty() || text[0] == '-') return std::optional<int64_t>();
  digits += text;
  int64_t value = 0;
  auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (end != digits.data() + digits.size() || problem == std::errc::invalid_argument) return std::optional<int64_t>();
  if (problem == std::errc::result_out_of_range) return makeError(ErrorCode::kUnsupported, "the integer ", digits.substr(0, 40), " does not fit 64 bits");
  return std::optional(value);
}

Result<Value> truncatedToInt(double value, const Value& fallback) {
  if (std::isnan(value)) return fallback;
  if (std::isinf(value)) return invalid("cannot convert float infinity to integer");
  if (std::fabs(value) >= 9.2e18) return makeError(ErrorCode::kUnsupported, "the integer ", floatText(value), " does not fit 64 bits");
  return Value::integer(static_cast<int64_t>(value));
}

Result<Value> toInt(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"default", "base"}));
  EXO_TRY(requireDefined(call.self));
  EXO_ASSIGN(int64_t base, integerArgument(call, arguments[1], "base", 10));
  if (base < 2 || base > 36) return invalid("'int' needs a base between 2 and 36, got ", base);
  Value fallback = arguments[0] ? *arguments[0] : Value::integer(0);
  if (call.self.isIntegral()) return Value::integer(call.self.asInt());
  if (call.self.type() == Type::kFloat) return truncatedToInt(call.self.asFloat(), fallback);
  if (!call.self.isString()) return fallback;
  EXO_ASSIGN(auto parsed, parseInteger(call.self.text(), static_cast<int>(base)));
  if (parsed) return Value::integer(*parsed);
  auto real = parseFloat(call.self.text());
  return real ? truncatedToInt(*real, fallback) : fallback;
}

Result<Value> toFloat(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"default"}));
  EXO_TRY(requireDefined(call.self));
  if (call.self.isNumber()) return Value::real(call.self.asFloat());
  auto parsed = call.self.isString() ? parseFloat(call.self.text()) : std::nullopt;
  if (parsed) return Value::real(*parsed);
  return arguments[0] ? *arguments[0] : Value::real(0);
}

/// To `precision` decimals, half to even on the exact binary value, as Python rounds: through its decimal text.
double roundDecimal(double value, int64_t precision) {
  if (!std::isfinite(value) || precision > 308) return value;
  if (precision < 0) {
    double scale = std::pow(10.0, static_cast<double>(-precision));
    return std::isfinite(scale) ? std::nearbyint(value / scale) * scale : 0.0;
  }
  std::string text(700, '\0');
  int used = std::snprintf(text.data(), text.size(), "%.*f", static_cast<int>(precision), value);
  double rounded = value;
  std::from_chars(text.data(), text.data() + used, rounded);
  return rounded;
}

Result<Value> roundNumber(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"precision", "method"}));
  EXO_TRY(requireDefined(call.self));
  EXO_ASSIGN(int64_t precision, integerArgument(call, arguments[0], "precision", 0));
  if (precision > 300 || precision < -300) return invalid("'round' needs a precision between -300 and 300, got ", precision);
  std::string method = arguments[1] && arguments[1]->isString() ? arguments[1]->text() : "common";
  if (method != "common" && method != "ceil" && method != "floor") return invalid("method must be common, ceil or floor");
  if (!call.self.isNumber()) return invalid("type ", typeName(call.self), " doesn't define __round__ method");
  if (method == "common") {
    if (!call.self.isIntegral()) return Value::real(roundDecimal(call.self.asFloat(), precision));
    if (precision >= 0) return Value::integer(call.self.asInt());
    return makeError(ErrorCode::kUnsupported, "rounding an int to a negative precision is not supported");
  }
  double scale = std::pow(10.0, static_cast<double>(precision));
  double scaled = call.self.asFloat() * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

// ---- sequences

Result<Value> length(Call& call) {
  EXO_TRY(noArguments(call));
  const Value& self = call.self;
  if (self.isUndefined()) return Value::integer(0);
  if (self.isString()) return Value::integer(static_cast<int64_t>(self.asString().length));
  if (self.isDict()) return Value::integer(static_cast<int64_t>(self.asDict().entries.size()));
  bool is_sized = self.isSequence() && !self.isSequence(SequenceKind::kGenerator);
  if (!is_sized) return invalid("object of type '", typeName(self), "' has no len()");
  return Value::integer(static_cast<int64_t>(self.asSequence().items.size()));
}

Result<std::vector<Value>> selfItems(Call& call) { return iterate(call.self, call.budget); }

Result<Value> list(Call& call) {
  EXO_TRY(noArguments(call));
  EXO_ASSIGN(auto items, selfItems(call));
  return Value::list(std::move(items));
}

Result<Value> first(Call& call) {
  EXO_TRY(noArguments(call));
  EXO_ASSIGN(auto items, selfItems(call));
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Result<Value> last(Call& call) {
  EXO_TRY(noArguments(call));
  if (call.self.isSequence(SequenceKind::kGenerator)) return invalid("'generator' object is not reversible; use |list|last");
  EXO_ASSIGN(auto items, selfItems(call));
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Result<Value> reverse(Call& call) {
  EXO_TRY(noArguments(call));
  if (call.self.isString()) {
    auto letters = splitCodePoints(call.self.text());
    std::string out;
    for (auto letter = letters.rbegin(); letter != letters.rend(); ++letter) out += *letter;
    return Value::string(std::move(out));
  }
  if (!isIterable(call.self)) return invalid("argument must be iterable");
  EXO_ASSIGN(auto items, selfItems(call));
  std::reverse(items.begin(), items.end());
  return call.self.isSequence(SequenceKind::kGenerator) ? Value::list(std::move(items)) : Value::generator(std::move(items));
}

Result<Value> join(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"d", "attribute"}));
  EXO_ASSIGN(auto items, selfItems(call));
  EXO_ASSIGN(const QuotedText separator, toQuotedText(arguments[0] ? *arguments[0] : Value::string(""), call.budget));
  EXO_ASSIGN(Path path, attributePath(arguments[1] ? *arguments[1] : Value()));
  QuotedText out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += separator;
    EXO_ASSIGN(Value item, follow(items[i], path, std::nullopt, call.budget));
    EXO_ASSIGN(const QuotedText text, toQuotedText(item, call.budget));
    out += text;
    if (out.sizeBytes() > call.budget.maxBytes()) return Error(call.budget.allow(out.sizeBytes()).error());
  }
  EXO_TRY(call.budget.allow(out.sizeBytes()));
  return Value::string(std::move(out));
}

Result<Value> items(Call& call) {
  EXO_TRY(noArguments(call));
  if (call.self.isUndefined()) return Value::generator({});
  if (!call.self.isDict()) return invalid("Can only get item pairs from a mapping.");
  EXO_ASSIGN(auto pairs, itemPairs(call.self, call.budget));
  return Value::generator(std::move(pairs));
}

/// Sorts `items` by their keys, stably; with reverse equal keys keep their order too.
Result<Value> sortBy(std::vector<Value> items, std::vector<std::vector<Value>> keys, bool is_reverse, Budget& budget) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::optional<Error> problem;
  auto isLess = [&](size_t left, size_t right) {
    if (is_reverse) std::swap(left, right);
    for (size_t k = 0; !problem && k < keys[left].size(); ++k) {
      if (equals(keys[left][k], keys[right][k], budget)) continue;
      auto result = compare(keys[left][k], keys[right][k], "<", budget);
      if (!result.ok()) problem = result.error();
      return result.ok() && *result < 0;
    }
    return false;
  };
  std::stable_sort(order.begin(), order.end(), isLess);
  if (problem) return std::move(*problem);
  std::vector<Value> sorted;
  for (size_t i : order) sorted.push_back(std::move(items[i]));
  return Value::list(std::move(sorted));
}

Result<Value> sort(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"reverse", "case_sensitive", "attribute"}));
  EXO_ASSIGN(bool is_reverse, boolArgument(arguments[0], false));
  EXO_ASSIGN(bool is_case_sensitive, boolArgument(arguments[1], false));
  Value attribute = arguments[2] ? *arguments[2] : Value();
  std::vector<Path> paths;
  std::vector<Value> attributes{attribute};
  if (attribute.isString()) {
    attributes.clear();
    for (std::string_view part : splitOn(attribute.text(), ",", -1)) attributes.push_back(Value::string(std::string(part)));
  }
  for (const Value& each : attributes) {
    EXO_ASSIGN(Path path, attributePath(each));
    paths.push_back(std::move(path));
  }
  EXO_ASSIGN(auto items, selfItems(call));
  std::vector<std::vector<Value>> keys;
  for (const Value& item : items) {
    keys.emplace_back();
    for (const Path& path : paths) {
      EXO_ASSIGN(Value key, follow(item, path, std::nullopt, call.budget));
      keys.back().push_back(is_case_sensitive ? key : ignoreCase(key));
    }
  }
  return sortBy(std::move(items), std::move(keys), is_reverse, call.budget);
}

Result<Value> dictsort(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"case_sensitive", "by", "reverse"}));
  EXO_TRY(requireDefined(call.self));
  if (!call.self.isDict()) return invalid("'dictsort' needs a dict, got ", typeName(call.self));
  EXO_ASSIGN(bool is_case_sensitive, boolArgument(arguments[0], false));
  EXO_ASSIGN(bool is_reverse, boolArgument(arguments[2], false));
  std::string by = arguments[1] && arguments[1]->isString() ? arguments[1]->text() : (arguments[1] ? "" : "key");
  if (by != "key" && by != "value") return invalid("You can only sort by either \"key\" or \"value\"");
  EXO_ASSIGN(auto pairs, itemPairs(call.self, call.budget));
  std::vector<std::vector<Value>> keys;
  for (const Value& pair : pairs) {
    const Value& key = pair.asSequence().items[by == "key" ? 0 : 1];
    keys.push_back({is_case_sensitive ? key : ignoreCase(key)});
  }
  return sortBy(std::move(pairs), std::move(keys), is_reverse, call.budget);
}

Result<Value> unique(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"case_sensitive", "attribute"}));
  EXO_ASSIGN(bool is_case_sensitive, boolArgument(arguments[0], false));
  EXO_ASSIGN(Path path, attributePath(arguments[1] ? *arguments[1] : Value()));
  EXO_ASSIGN(auto items, selfItems(call));
  Dict seen;
  std::vector<Value> kept;
  for (Value& item : items) {
    EXO_ASSIGN(Value key, follow(item, path, std::nullopt, call.budget));
    if (!is_case_sensitive) key = ignoreCase(key);
    if (!isHashable(key)) return invalid("unhashable type: '", typeName(key), "'");
    if (seen.find(key, call.budget) != nullptr) continue;
    seen.set(std::move(key), Value(), call.budget);
    kept.push_back(std::move(item));
    EXO_TRY(call.budget.check());
  }
  return Value::generator(std::move(kept));
}

Result<Value> extreme(Call& call, bool wants_max) {
  EXO_ASSIGN(Bound arguments, bind(call, {"case_sensitive", "attribute"}));
  EXO_ASSIGN(bool is_case_sensitive, boolArgument(arguments[0], false));
  EXO_ASSIGN(Path path, attributePath(arguments[1] ? *arguments[1] : Value()));
  EXO_ASSIGN(auto items, selfItems(call));
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  Value best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    EXO_ASSIGN(Value key, follow(items[i], path, std::nullopt, call.budget));
    if (!is_case_sensitive) key = ignoreCase(key);
    int order = 1;
    if (i > 0) {
      auto compared = wants_max ? compare(key, best_key, ">", call.budget) : compare(best_key, key, "<", call.budget);
      if (!compared.ok()) return std::move(compared).error();
      order = *compared;
    }
    if (order <= 0) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}
Result<Value> minimum(Call& call) { return extreme(call, false); }
Result<Value> maximum(Call& call) { return extreme(call, true); }

Result<Value> sum(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"attribute", "start"}));
  EXO_ASSIGN(Path path, attributePath(arguments[0] ? *arguments[0] : Value()));
  EXO_ASSIGN(auto items, selfItems(call));
  Value total = arguments[1] ? *arguments[1] : Value::integer(0);
  for (const Value& item : items) {
    EXO_ASSIGN(Value term, follow(item, path, std::nullopt, call.budget));
    EXO_ASSIGN(total, applyBinary(BinaryOp::kAdd, total, term, call.budget));
  }
  return total;
}

Result<Value> batch(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"linecount", "fill_with"}, 1));
  EXO_ASSIGN(int64_t size, integerArgument(call, arguments[0], "linecount", 0));
  EXO_ASSIGN(auto items, selfItems(call));
  if (size < 1) return invalid("'batch' needs a linecount of at least 1, got ", size);
  bool fills = arguments[1] && !arguments[1]->isNone();
  std::vector<Value> rows;
  for (size_t i = 0; i < items.size();) {
    std::vector<Value> row;
    for (int64_t k = 0; k < size && i < items.size(); ++k) row.push_back(items[i++]);
    if (fills && static_cast<int64_t>(row.size()) < size) {
      EXO_TRY(call.budget.allow(static_cast<size_t>(std::min<int64_t>(size, 1 << 30)) * sizeof(Value)));
      row.resize(static_cast<size_t>(size), *arguments[1]);
    }
    EXO_ASSIGN(Value list, Value::list(std::move(row)));
    rows.push_back(std::move(list));
  }
  return Value::generator(std::move(rows));
}

// ---- select and map

/// Applies the test named by arguments[at] (truth if there is none) to `value`.
Result<bool> passes(Call& call, size_t at, const Value& value) {
  if (call.positional.size() <= at) return value.truth();
  if (!call.positional[at].isString()) return invalid("'", call.name, "' needs the name of a test, got ", typeName(call.positional[at]));
  Call test{call.positional[at].text(), value, {call.positional.begin() + static_cast<ptrdiff_t>(at) + 1, call.positional.end()}, call.named, call.budget};
  return applyTest(test);
}

Result<Value> choose(Call& call, bool by_attribute, bool keeps_passing) {
  if (!call.self.truth() && !isIterable(call.self)) return Value::generator({});
  if (by_attribute && call.positional.empty()) return invalid("'", call.name, "' is missing the name of the attribute");
  Path path;
  if (by_attribute) {
    EXO_ASSIGN(path, attributePath(call.positional[0]));
  }
  EXO_ASSIGN(auto items, selfItems(call));
  std::vector<Value> kept;
  for (Value& item : items) {
    EXO_ASSIGN(Value tested, follow(item, path, std::nullopt, call.budget));
    EXO_ASSIGN(bool passed, passes(call, by_attribute ? 1 : 0, tested));
    if (passed == keeps_passing) kept.push_back(std::move(item));
    EXO_TRY(call.budget.check());
  }
  return Value::generator(std::move(kept));
}
Result<Value> select(Call& call) { return choose(call, false, true); }
Result<Value> reject(Call& call) { return choose(call, false, false); }
Result<Value> selectattr(Call& call) { return choose(call, true, true); }
Result<Value> rejectattr(Call& call) { return choose(call, true, false); }

Result<Value> mapAttribute(Call& call, std::vector<Value> items) {
  EXO_ASSIGN(Bound arguments, bind(call, {"attribute", "default"}, 1));
  EXO_ASSIGN(Path path, attributePath(*arguments[0]));
  std::optional<Value> fallback = arguments[1] && !arguments[1]->isNone() ? arguments[1] : std::nullopt;
  for (Value& item : items) {
    EXO_ASSIGN(item, follow(item, path, fallback, call.budget));
  }
  return Value::generator(std::move(items));
}

Result<Value> map(Call& call) {
  if (!call.self.truth() && !isIterable(call.self)) return Value::generator({});
  EXO_ASSIGN(auto items, selfItems(call));
  bool by_attribute = call.positional.empty() && !call.named.empty();
  if (by_attribute) return mapAttribute(call, std::move(items));
  if (call.positional.empty() || !call.positional[0].isString()) return invalid("map requires a filter argument");
  if (call.positional[0].text() == "map") return makeError(ErrorCode::kUnsupported, "map('map') is not supported");
  for (Value& item : items) {
    Call inner{call.positional[0].text(), item, {call.positional.begin() + 1, call.positional.end()}, call.named, call.budget};
    EXO_ASSIGN(item, applyFilter(inner));
    EXO_TRY(call.budget.check());
  }
  return Value::generator(std::move(items));
}

// ---- the rest

Result<Value> defaultTo(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"default_value", "boolean"}));
  EXO_ASSIGN(bool replaces_false, boolArgument(arguments[1], false));
  if (!call.self.isUndefined() && !(replaces_false && !call.self.truth())) return call.self;
  return arguments[0] ? *arguments[0] : Value::string("");
}

Result<Value> attribute(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"name"}, 1));
  if (!arguments[0]->isString()) return invalid("'attr' needs a str as name, got ", typeName(*arguments[0]));
  bool is_found = call.self.isUndefined() || call.self.type() == Type::kNamespace || methodStatus(call.self, arguments[0]->text()) != MethodStatus::kNone;
  if (is_found) return getAttribute(call.self, arguments[0]->text());
  return Value::undefined("'" + describe(call.self) + "' has no attribute " + reprString(arguments[0]->text()));
}

constexpr FilterEntry kFilters[] = {
    {"abs", absolute}, {"attr", attribute}, {"batch", batch}, {"capitalize", mapped<capitalized>, Quotes::kWhole}, {"count", length}, {"d", defaultTo},
    {"default", defaultTo}, {"dictsort", dictsort}, {"first", first}, {"float", toFloat}, {"format", format, Quotes::kWhole}, {"indent", indent, Quotes::kWhole},
    {"int", toInt}, {"items", items}, {"join", join}, {"last", last}, {"length", length}, {"list", list}, {"lower", mapped<lowerCase>, Quotes::kWhole},
    {"map", map}, {"max", maximum}, {"min", minimum}, {"reject", reject}, {"rejectattr", rejectattr}, {"replace", replace},
    {"reverse", reverse, Quotes::kWhole}, {"round", roundNumber}, {"safe", safe}, {"select", select}, {"selectattr", selectattr}, {"sort", sort},
    {"string", string}, {"sum", sum}, {"title", mapped<titled>, Quotes::kWhole}, {"tojson", tojson, Quotes::kWhole}, {"trim", trim}, {"unique", unique},
    {"upper", mapped<upperCase>, Quotes::kWhole},
};

const FilterEntry* findFilter(std::string_view name) {
  auto found = std::find_if(std::begin(kFilters), std::end(kFilters), [&](const FilterEntry& entry) { return entry.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

/// Filters whose result for a text marked safe is the same as for a plain one.
bool acceptsMarkup(std::string_view name) {
  return name == "safe" || name == "string" || name == "tojson" || name == "length" || name == "count" || name == "default" || name == "d";
}

}  // namespace

bool isFilterName(std::string_view name) { return findFilter(name) != nullptr; }

Result<Value> applyFilter(Call& call) {
  const FilterEntry* entry = findFilter(call.name);
  if (entry == nullptr) return makeError(ErrorCode::kUnsupported, "the filter '", call.name, "' is not supported");
  if (call.self.isMarkup() && !acceptsMarkup(call.name)) {
    return makeError(ErrorCode::kUnsupported, "the filter '", call.name, "' on a text marked |safe is not supported");
  }
  const bool quotes = entry->quotes == Quotes::kWhole && hasQuotes(call);
  EXO_ASSIGN(const Value result, entry->filter(call));
  return quotes ? quotedWhole(result) : result;
}

}  // namespace exo::jinja
