// The methods of str, dict, list and tuple that templates use. One table says which exist; Python's others are refused by name,
// and those that would modify their receiver are undefined, as in transformers' sandbox.
#include <algorithm>
#include <iterator>

#include "frontend/template/builtins.h"
#include "frontend/template/operators.h"
#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

using Method = Result<Value> (*)(Call&);

struct MethodEntry {
  std::string_view name;
  Method method;
  Quotes quotes = Quotes::kKept;
};

Result<std::string> stringArgument(const Call& call, const std::optional<Value>& argument, const char* parameter) {
  if (!argument || !argument->isString()) return invalid(call.name, "() needs a str as ", parameter, ", got ", argument ? typeName(*argument) : "nothing");
  return argument->text();
}

/// Views into `text`.
Result<Value> listOf(const QuotedText& text, const std::vector<std::string_view>& parts, Budget& budget) {
  EXO_TRY(budget.allow(parts.size() * sizeof(Value)));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (std::string_view part : parts) items.push_back(Value::string(text.part(part)));
  return Value::list(std::move(items));
}

Result<Value> splitEither(Call& call, bool from_right) {
  EXO_ASSIGN(Bound arguments, bind(call, {"sep", "maxsplit"}));
  EXO_ASSIGN(int64_t limit, integerArgument(call, arguments[1], "maxsplit", -1));
  const std::string& text = call.self.text();
  EXO_TRY(call.budget.allow(text.size()));
  if (!arguments[0] || arguments[0]->isNone()) return listOf(call.self.content(), from_right ? rsplitSpace(text, limit) : splitSpace(text, limit), call.budget);
  EXO_ASSIGN(std::string separator, stringArgument(call, arguments[0], "sep"));
  if (separator.empty()) return invalid("empty separator");
  return listOf(call.self.content(), from_right ? rsplitOn(text, separator, limit) : splitOn(text, separator, limit), call.budget);
}
Result<Value> split(Call& call) { return splitEither(call, false); }
Result<Value> rsplit(Call& call) { return splitEither(call, true); }

Result<Value> splitlines(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"keepends"}));
  EXO_ASSIGN(bool keeps_ends, boolArgument(arguments[0], false));
  return listOf(call.self.content(), splitLines(call.self.text(), keeps_ends), call.budget);
}

Result<Value> stripSides(Call& call, Sides sides) {
  EXO_ASSIGN(Bound arguments, bind(call, {"chars"}));
  const std::string& text = call.self.text();
  EXO_TRY(call.budget.allow(text.size()));
  if (!arguments[0] || arguments[0]->isNone()) return Value::string(call.self.content().part(stripSpace(text, sides)));
  EXO_ASSIGN(std::string set, stringArgument(call, arguments[0], "chars"));
  return Value::string(call.self.content().part(stripSet(text, set, sides)));
}
Result<Value> strip(Call& call) { return stripSides(call, Sides::kBoth); }
Result<Value> lstrip(Call& call) { return stripSides(call, Sides::kLeft); }
Result<Value> rstrip(Call& call) { return stripSides(call, Sides::kRight); }

template <class Matches>
Result<Value> matchesAny(Call& call, const Matches& matches) {
  EXO_ASSIGN(Bound arguments, bind(call, {"prefix"}, 1));
  if (arguments[0]->isString()) return Value::boolean(matches(call.self.text(), arguments[0]->text()));
  EXO_TRY(requireDefined(*arguments[0]));
  if (!arguments[0]->isSequence(SequenceKind::kTuple)) return invalid(call.name, " first arg must be str or a tuple of str, not ", typeName(*arguments[0]));
  for (const Value& item : arguments[0]->asSequence().items) {
    if (!item.isString()) return invalid("tuple for ", call.name, " must only contain str, not ", typeName(item));
    if (matches(call.self.text(), item.text())) return Value::boolean(true);
  }
  return Value::boolean(false);
}
Result<Value> startswith(Call& call) {
  return matchesAny(call, [](const std::string& text, const std::string& part) { return text.starts_with(part); });
}
Result<Value> endswith(Call& call) {
  return matchesAny(call, [](const std::string& text, const std::string& part) { return text.ends_with(part); });
}

Result<Value> replace(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"old", "new", "count"}, 2));
  EXO_ASSIGN(std::string from, stringArgument(call, arguments[0], "old"));
  EXO_TRY(stringArgument(call, arguments[1], "new"));
  EXO_ASSIGN(int64_t count, integerArgument(call, arguments[2], "count", -1));
  return replaceText(call.self.content(), from, arguments[1]->content(), count, call.budget);
}

template <std::string (*Map)(std::string_view)>
Result<Value> mapped(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  EXO_TRY(call.budget.allow(call.self.text().size()));
  return Value::string(Map(call.self.text()));
}

template <bool (*Is)(char32_t)>
Result<Value> allAre(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  const std::string& text = call.self.text();
  EXO_TRY(call.budget.allow(text.size()));
  for (size_t i = 0; i < text.size();) {
    if (!Is(nextCodePoint(text, i))) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}
bool isAlphanumeric(char32_t code) { return isLetter(code) || isNumeric(code); }

Result<Value> isupper(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  return Value::boolean(isUpperText(call.self.text()));
}
Result<Value> islower(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  return Value::boolean(isLowerText(call.self.text()));
}

/// Position in code points, or -1.
Result<int64_t> findText(Call& call, bool from_right) {
  EXO_ASSIGN(Bound arguments, bind(call, {"sub"}, 1));
  EXO_ASSIGN(std::string sub, stringArgument(call, arguments[0], "sub"));
  const std::string& text = call.self.text();
  EXO_TRY(call.budget.allow(text.size()));
  size_t at = from_right ? text.rfind(sub) : text.find(sub);
  return at == std::string::npos ? int64_t{-1} : static_cast<int64_t>(countCodePoints(std::string_view(text).substr(0, at)));
}
Result<Value> find(Call& call) {
  EXO_ASSIGN(int64_t at, findText(call, false));
  return Value::integer(at);
}
Result<Value> rfind(Call& call) {
  EXO_ASSIGN(int64_t at, findText(call, true));
  return Value::integer(at);
}
Result<Value> index(Call& call) {
  EXO_ASSIGN(int64_t at, findText(call, false));
  if (at < 0) return invalid("substring not found");
  return Value::integer(at);
}
Result<Value> countText(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"sub"}, 1));
  EXO_ASSIGN(std::string sub, stringArgument(call, arguments[0], "sub"));
  if (sub.empty()) return Value::integer(static_cast<int64_t>(call.self.asString().length) + 1);
  return Value::integer(static_cast<int64_t>(splitOn(call.self.text(), sub, -1).size()) - 1);
}

Result<Value> join(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"iterable"}, 1));
  EXO_ASSIGN(auto items, iterate(*arguments[0], call.budget));
  QuotedText out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].isString()) return invalid("sequence item ", i, ": expected str instance, ", typeName(items[i]), " found");
    if (i > 0) out += call.self.content();
    out += items[i].content();
    EXO_TRY(call.budget.allow(out.sizeBytes()));
  }
  return Value::string(std::move(out));
}

Result<Value> justified(Call& call, bool pads_left, bool pads_right) {
  EXO_ASSIGN(Bound arguments, bind(call, {"width", "fillchar"}, 1));
  EXO_ASSIGN(int64_t width, integerArgument(call, arguments[0], "width", 0));
  std::string fill = " ";
  if (arguments[1]) {
    EXO_ASSIGN(fill, stringArgument(call, arguments[1], "fillchar"));
    if (countCodePoints(fill) != 1) return invalid("The fill character must be exactly one character long");
  }
  auto length = static_cast<int64_t>(call.self.asString().length);
  if (width <= length) return call.self;
  EXO_TRY(call.budget.allow(static_cast<size_t>(width) > call.budget.maxBytes() ? static_cast<size_t>(width) : static_cast<size_t>(width) * fill.size() + call.self.text().size()));
  int64_t missing = width - length;
  // str.center() puts the odd one left only if the width is odd.
  int64_t left = !pads_left ? 0 : (pads_right ? missing / 2 + (missing & width & 1) : missing);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += call.self.text();
  for (int64_t i = left; i < missing; ++i) out += fill;
  return Value::string(std::move(out));
}
Result<Value> ljust(Call& call) { return justified(call, false, true); }
Result<Value> rjust(Call& call) { return justified(call, true, false); }
Result<Value> center(Call& call) { return justified(call, true, true); }

Result<Value> removeprefix(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"prefix"}, 1));
  EXO_ASSIGN(std::string part, stringArgument(call, arguments[0], "prefix"));
  return call.self.text().starts_with(part) ? Value::string(call.self.content().part(part.size())) : call.self;
}
Result<Value> removesuffix(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"suffix"}, 1));
  EXO_ASSIGN(std::string part, stringArgument(call, arguments[0], "suffix"));
  const std::string& text = call.self.text();
  return text.ends_with(part) ? Value::string(call.self.content().part(0, text.size() - part.size())) : call.self;
}

Result<Value> partitionEither(Call& call, bool from_right) {
  EXO_ASSIGN(Bound arguments, bind(call, {"sep"}, 1));
  EXO_ASSIGN(std::string separator, stringArgument(call, arguments[0], "sep"));
  if (separator.empty()) return invalid("empty separator");
  const std::string& text = call.self.text();
  EXO_TRY(call.budget.allow(text.size()));
  size_t at = from_right ? text.rfind(separator) : text.find(separator);
  Value none = Value::string("");
  if (at == std::string::npos) return from_right ? Value::tuple({none, none, call.self}) : Value::tuple({call.self, none, none});
  const QuotedText& whole = call.self.content();
  return Value::tuple({Value::string(whole.part(0, at)), Value::string(whole.part(at, separator.size())), Value::string(whole.part(at + separator.size()))});
}
Result<Value> partition(Call& call) { return partitionEither(call, false); }
Result<Value> rpartition(Call& call) { return partitionEither(call, true); }

constexpr MethodEntry kStringMethods[] = {
    {"capitalize", mapped<capitalized>, Quotes::kWhole}, {"center", center, Quotes::kWhole}, {"count", countText}, {"endswith", endswith}, {"find", find},
    {"format", formatBraces, Quotes::kWhole}, {"index", index}, {"isalnum", allAre<isAlphanumeric>}, {"isalpha", allAre<isLetter>},
    {"isdecimal", allAre<isDecimalDigit>}, {"isdigit", allAre<isDecimalDigit>}, {"islower", islower}, {"isnumeric", allAre<isNumeric>},
    {"isspace", allAre<isSpace>}, {"isupper", isupper}, {"join", join}, {"ljust", ljust, Quotes::kWhole}, {"lower", mapped<lowerCase>, Quotes::kWhole},
    {"lstrip", lstrip}, {"partition", partition}, {"removeprefix", removeprefix}, {"removesuffix", removesuffix}, {"replace", replace},
    {"rfind", rfind}, {"rjust", rjust, Quotes::kWhole}, {"rpartition", rpartition}, {"rsplit", rsplit}, {"rstrip", rstrip}, {"split", split},
    {"splitlines", splitlines}, {"startswith", startswith}, {"strip", strip}, {"title", mapped<titleCase>, Quotes::kWhole}, {"upper", mapped<upperCase>, Quotes::kWhole},
};
constexpr std::string_view kOtherStringMethods[] = {"casefold", "encode", "expandtabs", "format_map", "isascii", "isidentifier", "isprintable",
                                                    "istitle", "maketrans", "rindex", "swapcase", "translate", "zfill"};

Result<Value> view(std::vector<Value> items, const char* name) {
  Sequence sequence{SequenceKind::kView, std::move(items)};
  sequence.view_name = name;
  return Value::sequence(std::move(sequence));
}
Result<Value> items(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  EXO_ASSIGN(auto pairs, itemPairs(call.self, call.budget));
  return view(std::move(pairs), "dict_items");
}
Result<Value> keys(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  EXO_ASSIGN(auto all, iterate(call.self, call.budget));
  return view(std::move(all), "dict_keys");
}
Result<Value> values(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  EXO_TRY(call.budget.allow(call.self.asDict().entries.size() * sizeof(Value)));
  std::vector<Value> all;
  for (const auto& entry : call.self.asDict().entries) all.push_back(entry.second);
  return view(std::move(all), "dict_values");
}
Result<Value> get(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"key", "default"}, 1));
  if (!isHashable(*arguments[0])) return invalid("unhashable type: '", typeName(*arguments[0]), "'");
  const Value* found = call.self.asDict().find(*arguments[0], call.budget);
  if (found != nullptr) return *found;
  return arguments[1] ? *arguments[1] : Value();
}
Result<Value> copy(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  return call.self;  // values do not change, so a copy is the value
}
constexpr MethodEntry kDictMethods[] = {{"copy", copy}, {"get", get}, {"items", items}, {"keys", keys}, {"values", values}};
constexpr std::string_view kUnsafeDictMethods[] = {"clear", "pop", "popitem", "setdefault", "update"};

Result<Value> indexOf(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"value"}, 1));
  const auto& all = call.self.asSequence().items;
  for (size_t i = 0; i < all.size(); ++i) {
    if (equals(all[i], *arguments[0], call.budget)) return Value::integer(static_cast<int64_t>(i));
  }
  return invalid("the value is not in the ", typeName(call.self));
}
Result<Value> countOf(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"value"}, 1));
  int64_t count = 0;
  for (const Value& item : call.self.asSequence().items) count += equals(item, *arguments[0], call.budget);
  return Value::integer(count);
}
constexpr MethodEntry kListMethods[] = {{"copy", copy}, {"count", countOf}, {"index", indexOf}};
constexpr MethodEntry kTupleMethods[] = {{"count", countOf}, {"index", indexOf}};
constexpr std::string_view kUnsafeListMethods[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
constexpr std::string_view kNumberAttributes[] = {"as_integer_ratio", "bit_length", "conjugate", "denominator", "imag", "is_integer", "numerator", "real"};
constexpr std::string_view kRangeAttributes[] = {"count", "index", "start", "step", "stop"};
constexpr std::string_view kMacroAttributes[] = {"arguments", "caller", "catch_kwargs", "catch_varargs", "name"};

struct Methods {
  const MethodEntry* begin = nullptr;
  const MethodEntry* end = nullptr;
};
template <size_t N>
Methods all(const MethodEntry (&entries)[N]) {
  return {entries, entries + N};
}

Methods methodsOf(const Value& object) {
  if (object.isString()) return all(kStringMethods);
  if (object.isDict()) return all(kDictMethods);
  if (object.isSequence(SequenceKind::kList)) return all(kListMethods);
  if (object.isSequence(SequenceKind::kTuple)) return all(kTupleMethods);
  return {};
}

const MethodEntry* findMethod(const Value& object, std::string_view name) {
  Methods methods = methodsOf(object);
  auto found = std::find_if(methods.begin, methods.end, [&](const MethodEntry& entry) { return entry.name == name; });
  return found == methods.end ? nullptr : found;
}

template <size_t N>
bool has(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

MethodStatus methodStatus(const Value& object, std::string_view name) {
  if (findMethod(object, name) != nullptr) return MethodStatus::kSupported;
  if (object.isDict()) {
    if (has(kUnsafeDictMethods, name)) return MethodStatus::kUnsafe;
    return name == "fromkeys" ? MethodStatus::kUnsupported : MethodStatus::kNone;
  }
  if (object.isSequence(SequenceKind::kList)) return has(kUnsafeListMethods, name) ? MethodStatus::kUnsafe : MethodStatus::kNone;
  bool is_python = (object.isString() && has(kOtherStringMethods, name)) || (object.isNumber() && has(kNumberAttributes, name)) ||
                   (object.isSequence(SequenceKind::kRange) && has(kRangeAttributes, name)) || (object.type() == Type::kMacro && has(kMacroAttributes, name));
  return is_python ? MethodStatus::kUnsupported : MethodStatus::kNone;
}

Result<Value> callMethod(Call& call) {
  const MethodEntry* entry = findMethod(call.self, call.name);
  if (entry == nullptr) return makeError(ErrorCode::kUnsupported, "the method ", reprString(call.name), " of '", typeName(call.self), "' is not supported");
  if (call.self.isMarkup()) return makeError(ErrorCode::kUnsupported, "methods of a text marked |safe are not supported; use |string first");
  const bool quotes = entry->quotes == Quotes::kWhole && hasQuotes(call);
  EXO_ASSIGN(const Value result, entry->method(call));
  return quotes ? quotedWhole(result) : result;
}

}  // namespace exo::jinja
