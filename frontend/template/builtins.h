// What templates can call: filters, tests, methods and the `%` format. All take their arguments as a Call, bind them by
// position and name as Python does, and refuse by name what they do not know. Errors carry no line; the interpreter adds it.
// What they make of quoted text is quoted: parts and joins of texts exactly where they were, of all others (kWhole) the whole result.
#pragma once

#include <optional>

#include "frontend/template/value.h"

namespace exo::jinja {

/// self: what is filtered or tested, or the receiver of a method.
struct Call {
  std::string name;
  Value self;
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  Budget& budget;
};

/// Arguments by parameter; absent ones are nullopt.
using Bound = std::vector<std::optional<Value>>;
/// The first `required` parameters must be given. Errors name the function and the parameter.
Result<Bound> bind(const Call& call, std::initializer_list<const char*> parameters, size_t required = 0);
/// The argument as an integer; `fallback` if absent or None.
Result<int64_t> integerArgument(const Call& call, const std::optional<Value>& argument, const char* parameter, int64_t fallback);
Result<bool> boolArgument(const std::optional<Value>& argument, bool fallback);

/// How quotes get into the text that a function makes.
enum class Quotes : uint8_t { kKept, kWhole };
/// Is anything that the function was given quoted?
bool hasQuotes(const Call& call);

Result<Value> applyFilter(Call& call);
Result<bool> applyTest(Call& call);
bool isFilterName(std::string_view name);
bool isTestName(std::string_view name);
Result<Value> callMethod(Call& call);

/// kUnsafe: modifies its receiver, which the sandbox forbids. kUnsupported: Python has it, we do not.
enum class MethodStatus : uint8_t { kNone, kSupported, kUnsafe, kUnsupported };
MethodStatus methodStatus(const Value& object, std::string_view name);

bool isHashable(const Value& value);
/// At least one cased letter and none of the other case.
bool isUpperText(std::string_view text);
bool isLowerText(std::string_view text);
/// str.replace(): at most `count` times (negative: all).
Result<Value> replaceText(const QuotedText& text, const std::string& from, const QuotedText& to, int64_t count, Budget& budget);
/// (key, value) tuples of a dict.
Result<std::vector<Value>> itemPairs(const Value& dict, Budget& budget);

/// "%s and %d" % arguments.
Result<Value> formatPercent(const Value& format, const Value& arguments, Budget& budget);
/// "{} and {name}".format(…).
Result<Value> formatBraces(Call& call);

/// transformers' tojson: json.dumps(value, ensure_ascii=False, indent, separators, sort_keys).
struct JsonStyle {
  bool is_ascii = false;
  bool sorts_keys = false;
  std::optional<std::string> indent;  // one level's text; absent: one line
  std::string item_separator = ", ", key_separator = ": ";
};
Result<std::string> toJson(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace exo::jinja
