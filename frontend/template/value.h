// Values of the template language, with Python's semantics as Jinja templates see them: None, bool, int (64 bit, overflow is
// an error), float, str (UTF-8 with code point positions), list, tuple, dict (insertion order), range, generator, and
// what only Jinja has: Undefined, namespace and macro. Containers are immutable, as in transformers' sandbox, hence acyclic;
// their nesting is bounded by kMaxValueDepth, so recursion over a value is safe. Namespaces and macros belong to the
// rendering and are leaves here. Not thread-safe to build, safe to read from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "frontend/template/budget.h"
#include "ir/base/quoted_text.h"
#include "ir/base/result.h"

namespace exo::jinja {

inline constexpr int kMaxValueDepth = 256;

class Value;
struct Dict;
struct Macro;      // interpreter.cc
struct Namespace;

/// Why a value is undefined: the text of the error if the template uses it.
struct Undefined {
  std::string why;
};

/// length: in code points. is_markup: came through `safe`; `+` then HTML-escapes the other side, as markupsafe does. Quoted is what
/// came from messages; to comparisons, dicts and tests that makes no difference.
struct String {
  QuotedText content;
  size_t length = 0;
  bool is_markup = false;
  bool isAscii() const { return length == content.text.size(); }
};

enum class SequenceKind : uint8_t { kList, kTuple, kRange, kView, kGenerator };

/// A view is what dict.items() gives: sized, not indexable. A generator is what map() gives: unsized, always true, and
/// empty once iterated.
struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  std::vector<Value> items;
  int depth = 1;
  const char* view_name = "";           // kView: "dict_items"
  int64_t range_start = 0, range_stop = 0, range_step = 1;  // kRange, for its text
  mutable bool is_spent = false;        // kGenerator
};

/// A method of a value (receiver) or a global function (receiver None): resolved when called.
struct Callable {
  std::shared_ptr<const Value> receiver;  // null for global functions
  std::string name;
};

enum class Type : uint8_t { kNone, kUndefined, kBool, kInt, kFloat, kString, kSequence, kDict, kNamespace, kMacro, kCallable };

class Value {
 public:
  Value() = default;  // None
  static Value undefined(std::string why);
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(int64_t value) { return Value(Data(value)); }
  static Value real(double value) { return Value(Data(value)); }
  /// text: valid UTF-8.
  static Value string(std::string text) { return string(QuotedText{std::move(text), {}}); }
  static Value string(QuotedText text);
  static Value markup(QuotedText text);
  static Value ofNamespace(Namespace* value) { return Value(Data(value)); }
  static Value ofMacro(const Macro* value) { return Value(Data(value)); }
  static Value callable(std::string name) { return Value(Data(std::make_shared<const Callable>(Callable{nullptr, std::move(name)}))); }
  static Value method(const Value& receiver, std::string name);
  /// Errors if nested deeper than kMaxValueDepth.
  static Result<Value> sequence(Sequence sequence);
  static Result<Value> list(std::vector<Value> items) { return sequence({SequenceKind::kList, std::move(items)}); }
  static Result<Value> tuple(std::vector<Value> items) { return sequence({SequenceKind::kTuple, std::move(items)}); }
  static Result<Value> generator(std::vector<Value> items) { return sequence({SequenceKind::kGenerator, std::move(items)}); }
  static Result<Value> dict(Dict dict);

  Type type() const;
  bool isUndefined() const { return type() == Type::kUndefined; }
  bool isNone() const { return type() == Type::kNone; }
  bool isString() const { return type() == Type::kString; }
  bool isDict() const { return type() == Type::kDict; }
  bool isSequence() const { return type() == Type::kSequence; }
  bool isSequence(SequenceKind kind) const { return isSequence() && asSequence().kind == kind; }
  bool isMarkup() const { return isString() && asString().is_markup; }
  bool isCallable() const { return type() == Type::kCallable || type() == Type::kMacro; }
  /// int or bool, as Python's int operations accept both.
  bool isIntegral() const { return type() == Type::kInt || type() == Type::kBool; }
  bool isNumber() const { return isIntegral() || type() == Type::kFloat; }

  bool asBool() const { return std::get<bool>(data_); }
  int64_t asInt() const { return type() == Type::kBool ? int64_t{asBool()} : std::get<int64_t>(data_); }
  double asFloat() const { return isIntegral() ? static_cast<double>(asInt()) : std::get<double>(data_); }
  const String& asString() const { return *std::get<std::shared_ptr<const String>>(data_); }
  const std::string& text() const { return asString().content.text; }
  const QuotedText& content() const { return asString().content; }
  const Sequence& asSequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  const Dict& asDict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Namespace& asNamespace() const { return *std::get<Namespace*>(data_); }
  const Macro& asMacro() const { return *std::get<const Macro*>(data_); }
  const Callable& asCallable() const { return *std::get<std::shared_ptr<const Callable>>(data_); }
  const std::string& whyUndefined() const { return std::get<std::shared_ptr<const Undefined>>(data_)->why; }

  /// The same object, as Python's `is`: address for containers, value for the others.
  bool isSameAs(const Value& other) const;
  bool truth() const;
  int depth() const;

 private:
  using Data = std::variant<std::monostate, std::shared_ptr<const Undefined>, bool, int64_t, double, std::shared_ptr<const String>,
                            std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, Namespace*, const Macro*,
                            std::shared_ptr<const Callable>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

/// Keys are unique; insertion order. Keys of a large dict that are strings are found by hash.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string, size_t> string_index;
  int depth = 1;

  const Value* find(std::string_view key) const;
  const Value* find(const Value& key, Budget& budget) const;
  /// Adds or overwrites.
  void set(Value key, Value value, Budget& budget);

 private:
  size_t indexOf(std::string_view key) const;
  void append(Value key, Value value);
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> fields;
  const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);
};

/// Python's name of the type: "str", "NoneType", "dict".
std::string typeName(const Value& value);
/// As Jinja names an object in its errors: "dict object", "None".
std::string describe(const Value& value);

/// Python's ==. Spends steps; false when they run out (the caller checks the budget).
bool equals(const Value& left, const Value& right, Budget& budget);
/// Python's ordering: negative, 0 or positive; `op` is the operator named in the TypeError.
Result<int> compare(const Value& left, const Value& right, const char* op, Budget& budget);

/// str() and repr(). Error for what has no stable text (generators, macros).
Result<std::string> toText(const Value& value, Budget& budget);
/// str(): of a string as it is quoted; of anything else all quoted, if anything in it is.
Result<QuotedText> toQuotedText(const Value& value, Budget& budget);
/// Is anything quoted in the value?
bool hasQuotes(const Value& value, Budget& budget);
/// A string with all of it quoted; other values as they are.
Value quotedWhole(const Value& value);
Result<std::string> toRepr(const Value& value, Budget& budget);
std::string reprString(std::string_view text);
/// Python's repr of a float: the shortest digits that read back.
std::string floatText(double value);

/// The elements a `for` would see; a generator is empty afterwards. TypeError for what cannot be iterated.
Result<std::vector<Value>> iterate(const Value& value, Budget& budget);
bool isIterable(const Value& value);

/// Whose words the strings of a variable are.
enum class Origin : uint8_t { kOurs, kMessages };

/// Strings must be valid UTF-8, integers fit 64 bits. kMessages: strings are quoted, but for a "role" that is a usual one: templates make
/// special tokens of those ("<|" + role + "|>").
Result<Value> fromJson(const nlohmann::ordered_json& json, Origin origin, Budget& budget);

}  // namespace exo::jinja
