// The tests of `x is test`.
#include <algorithm>
#include <iterator>

#include "frontend/template/builtins.h"
#include "frontend/template/operators.h"
#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

using Test = Result<bool> (*)(Call&);
struct TestEntry {
  std::string_view name;
  Test test;
};

template <bool (*Is)(const Value&)>
Result<bool> simple(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  return Is(call.self);
}

bool isDefined(const Value& value) { return !value.isUndefined(); }
bool isUndefined(const Value& value) { return value.isUndefined(); }
bool isNone(const Value& value) { return value.isNone(); }
bool isBoolean(const Value& value) { return value.type() == Type::kBool; }
bool isTrue(const Value& value) { return isBoolean(value) && value.asBool(); }
bool isFalse(const Value& value) { return isBoolean(value) && !value.asBool(); }
bool isInteger(const Value& value) { return value.type() == Type::kInt; }
bool isFloat(const Value& value) { return value.type() == Type::kFloat; }
bool isNumber(const Value& value) { return value.isNumber(); }
bool isString(const Value& value) { return value.isString(); }
bool isMapping(const Value& value) { return value.isDict(); }
bool isEscaped(const Value& value) { return value.isMarkup(); }
bool isCallable(const Value& value) { return value.isCallable() || value.isUndefined(); }
bool isIterableValue(const Value& value) { return isIterable(value); }
/// Sized and indexable; Jinja's Undefined claims to be both.
bool isSequenceValue(const Value& value) {
  if (value.isUndefined() || value.isString() || value.isDict()) return true;
  return value.isSequence() && !value.isSequence(SequenceKind::kView) && !value.isSequence(SequenceKind::kGenerator);
}

Result<bool> remainderIs(const Value& value, int64_t divisor, int64_t expected, Budget& budget) {
  EXO_ASSIGN(Value remainder, applyBinary(BinaryOp::kModulo, value, Value::integer(divisor), budget));
  return equals(remainder, Value::integer(expected), budget);
}
Result<bool> isOdd(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  return remainderIs(call.self, 2, 1, call.budget);
}
Result<bool> isEven(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  return remainderIs(call.self, 2, 0, call.budget);
}
Result<bool> isDivisibleBy(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"num"}, 1));
  EXO_ASSIGN(int64_t divisor, integerArgument(call, arguments[0], "num", 0));
  return remainderIs(call.self, divisor, 0, call.budget);
}

template <Comparison comparison>
Result<bool> compares(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"other"}, 1));
  return applyComparison(comparison, call.self, *arguments[0], call.budget);
}

Result<bool> isSameAs(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {"other"}, 1));
  return call.self.isSameAs(*arguments[0]);
}

template <bool (*Is)(std::string_view)>
Result<bool> textIs(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  EXO_ASSIGN(std::string text, toText(call.self, call.budget));
  return Is(text);
}
template <bool (*Is)(std::string_view)>
Result<bool> isKnown(Call& call) {
  EXO_ASSIGN(Bound arguments, bind(call, {}));
  return call.self.isString() && Is(call.self.text());
}

constexpr TestEntry kTests[] = {
    {"defined", simple<isDefined>}, {"undefined", simple<isUndefined>}, {"none", simple<isNone>}, {"boolean", simple<isBoolean>},
    {"true", simple<isTrue>}, {"false", simple<isFalse>}, {"integer", simple<isInteger>}, {"float", simple<isFloat>},
    {"number", simple<isNumber>}, {"string", simple<isString>}, {"mapping", simple<isMapping>}, {"sequence", simple<isSequenceValue>},
    {"iterable", simple<isIterableValue>}, {"callable", simple<isCallable>}, {"escaped", simple<isEscaped>}, {"odd", isOdd},
    {"even", isEven}, {"divisibleby", isDivisibleBy}, {"sameas", isSameAs}, {"in", compares<Comparison::kIn>},
    {"==", compares<Comparison::kEqual>}, {"eq", compares<Comparison::kEqual>}, {"equalto", compares<Comparison::kEqual>},
    {"!=", compares<Comparison::kNotEqual>}, {"ne", compares<Comparison::kNotEqual>}, {">", compares<Comparison::kGreater>},
    {"gt", compares<Comparison::kGreater>}, {"greaterthan", compares<Comparison::kGreater>}, {">=", compares<Comparison::kGreaterEqual>},
    {"ge", compares<Comparison::kGreaterEqual>}, {"<", compares<Comparison::kLess>}, {"lt", compares<Comparison::kLess>},
    {"lessthan", compares<Comparison::kLess>}, {"<=", compares<Comparison::kLessEqual>}, {"le", compares<Comparison::kLessEqual>},
    {"lower", textIs<isLowerText>}, {"upper", textIs<isUpperText>}, {"filter", isKnown<isFilterName>}, {"test", isKnown<isTestName>},
};

const TestEntry* findTest(std::string_view name) {
  auto found = std::find_if(std::begin(kTests), std::end(kTests), [&](const TestEntry& entry) { return entry.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

bool isCased(std::string_view text, bool (*wanted)(char32_t), bool (*other)(char32_t)) {
  bool found = false;
  for (size_t i = 0; i < text.size();) {
    char32_t code = nextCodePoint(text, i);
    if (other(code)) return false;
    found |= wanted(code);
  }
  return found;
}

}  // namespace

bool isUpperText(std::string_view text) { return isCased(text, isUpperCase, isLowerCase); }
bool isLowerText(std::string_view text) { return isCased(text, isLowerCase, isUpperCase); }
bool isTestName(std::string_view name) { return findTest(name) != nullptr; }

Result<bool> applyTest(Call& call) {
  const TestEntry* entry = findTest(call.name);
  if (entry == nullptr) return makeError(ErrorCode::kUnsupported, "the test '", call.name, "' is not supported");
  return entry->test(call);
}

}  // namespace exo::jinja
