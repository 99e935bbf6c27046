#include "frontend/template/operators.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "frontend/template/builtins.h"
#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

Error overflow(BinaryOp op) { return makeError(ErrorCode::kUnsupported, "the integer result of '", symbol(op), "' does not fit 64 bits"); }

Error unsupportedOperands(BinaryOp op, const Value& left, const Value& right) {
  const char* text = op == BinaryOp::kPower ? "** or pow()" : symbol(op);
  return invalid("unsupported operand type(s) for ", text, ": '", typeName(left), "' and '", typeName(right), "'");
}

Result<Value> powerOfInts(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return invalid("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return overflow(BinaryOp::kPower);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow(BinaryOp::kPower);
  }
  return Value::integer(result);
}

/// Rounds towards minus infinity, as Python does.
Result<Value> floorDivide(int64_t left, int64_t right, bool wants_remainder) {
  if (right == 0) return invalid(wants_remainder ? "integer modulo by zero" : "integer division or modulo by zero");
  if (right == -1) {
    int64_t negated = 0;
    if (wants_remainder) return Value::integer(0);
    if (__builtin_sub_overflow(int64_t{0}, left, &negated)) return overflow(BinaryOp::kFloorDivide);
    return Value::integer(negated);
  }
  int64_t quotient = left / right, remainder = left % right;
  if (remainder != 0 && (remainder < 0) != (right < 0)) {
    --quotient;
    remainder += right;
  }
  return Value::integer(wants_remainder ? remainder : quotient);
}

Result<Value> integerBinary(BinaryOp op, int64_t left, int64_t right) {
  int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(left, right, &result)) return overflow(op);
      return Value::integer(result);
    case BinaryOp::kSubtract:
      if (__builtin_sub_overflow(left, right, &result)) return overflow(op);
      return Value::integer(result);
    case BinaryOp::kMultiply:
      if (__builtin_mul_overflow(left, right, &result)) return overflow(op);
      return Value::integer(result);
    case BinaryOp::kDivide:
      if (right == 0) return invalid("division by zero");
      return Value::real(static_cast<double>(left) / static_cast<double>(right));
    case BinaryOp::kFloorDivide: return floorDivide(left, right, false);
    case BinaryOp::kModulo: return floorDivide(left, right, true);
    case BinaryOp::kPower: return powerOfInts(left, right);
  }
  return overflow(op);
}

Result<Value> floatBinary(BinaryOp op, double left, double right) {
  switch (op) {
    case BinaryOp::kAdd: return Value::real(left + right);
    case BinaryOp::kSubtract: return Value::real(left - right);
    case BinaryOp::kMultiply: return Value::real(left * right);
    case BinaryOp::kDivide:
      if (right == 0) return invalid("float division by zero");
      return Value::real(left / right);
    case BinaryOp::kFloorDivide:
      if (right == 0) return invalid("float floor division by zero");
      return Value::real(std::floor(left / right));
    case BinaryOp::kModulo: {
      if (right == 0) return invalid("float modulo");
      double remainder = std::fmod(left, right);
      if (remainder != 0 && (remainder < 0) != (right < 0)) remainder += right;
      return Value::real(remainder);
    }
    case BinaryOp::kPower: {
      if (left == 0 && right < 0) return invalid("0.0 cannot be raised to a negative power");
      if (left < 0 && right != std::floor(right)) return makeError(ErrorCode::kUnsupported, "complex results of '**' are not supported");
      double result = std::pow(left, right);
      if (std::isinf(result) && std::isfinite(left) && std::isfinite(right)) return invalid("the result of '**' is too large for a float");
      return Value::real(result);
    }
  }
  return Value();
}

QuotedText escapeHtml(const QuotedText& text) {
  QuotedText out;
  for (char c : text.text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out.text += c;
    }
  }
  if (!text.quoted.empty()) out.quoteAll();
  return out;
}

Result<Value> addStrings(const Value& left, const Value& right, Budget& budget) {
  if (!left.isMarkup() && !right.isMarkup()) return concatenate(left.content(), right.content(), budget);
  QuotedText text = left.isMarkup() ? left.content() : escapeHtml(left.content());
  text += right.isMarkup() ? right.content() : escapeHtml(right.content());
  EXO_TRY(budget.allow(text.text.size()));
  return Value::markup(std::move(text));
}

Result<Value> addSequences(const Sequence& left, const Sequence& right, Budget& budget) {
  EXO_TRY(budget.allow((left.items.size() + right.items.size()) * sizeof(Value)));
  Sequence sum{left.kind, left.items};
  sum.items.insert(sum.items.end(), right.items.begin(), right.items.end());
  return Value::sequence(std::move(sum));
}

bool isListOrTuple(const Value& value) { return value.isSequence(SequenceKind::kList) || value.isSequence(SequenceKind::kTuple); }

Result<Value> add(const Value& left, const Value& right, Budget& budget) {
  if (left.isString() && right.isString()) return addStrings(left, right, budget);
  if (left.isString()) return invalid("can only concatenate str (not \"", typeName(right), "\") to str");
  bool same_kind = isListOrTuple(left) && isListOrTuple(right) && left.asSequence().kind == right.asSequence().kind;
  if (same_kind) return addSequences(left.asSequence(), right.asSequence(), budget);
  if (isListOrTuple(left)) return invalid("can only concatenate ", typeName(left), " (not \"", typeName(right), "\") to ", typeName(left));
  return unsupportedOperands(BinaryOp::kAdd, left, right);
}

Result<Value> repeat(const Value& value, int64_t count, Budget& budget) {
  size_t times = count < 0 ? 0 : static_cast<size_t>(count);
  size_t unit = value.isString() ? value.text().size() : value.asSequence().items.size() * sizeof(Value);
  size_t total = 0;
  if (__builtin_mul_overflow(times, unit, &total)) total = static_cast<size_t>(-1);
  EXO_TRY(budget.allow(total));
  if (unit == 0) times = 0;
  if (value.isString()) {
    QuotedText out;
    out.text.reserve(total);
    for (size_t i = 0; i < times; ++i) out.text += value.text();
    if (hasQuotes(value, budget)) out.quoteAll();
    return value.isMarkup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
  }
  Sequence out{value.asSequence().kind, {}};
  for (size_t i = 0; i < times; ++i) out.items.insert(out.items.end(), value.asSequence().items.begin(), value.asSequence().items.end());
  return Value::sequence(std::move(out));
}

Result<Value> multiply(const Value& left, const Value& right, Budget& budget) {
  if ((left.isString() || isListOrTuple(left)) && right.isIntegral()) return repeat(left, right.asInt(), budget);
  if ((right.isString() || isListOrTuple(right)) && left.isIntegral()) return repeat(right, left.asInt(), budget);
  return unsupportedOperands(BinaryOp::kMultiply, left, right);
}

Result<int64_t> sliceBound(const Value& value) {
  if (!value.isIntegral()) return invalid("slice indices must be integers or None");
  return value.asInt();
}

/// The indices a slice of `size` elements visits.
Result<std::vector<size_t>> sliceIndices(size_t size, const Value* start, const Value* stop, const Value* step, Budget& budget) {
  auto length = static_cast<int64_t>(size);
  int64_t stride = 1;
  if (step != nullptr && !step->isNone()) {
    EXO_ASSIGN(stride, sliceBound(*step));
  }
  if (stride == 0) return invalid("slice step cannot be zero");
  bool is_forward = stride > 0;
  int64_t low = is_forward ? 0 : -1, high = is_forward ? length : length - 1;
  int64_t first = is_forward ? low : high, last = is_forward ? high : low;
  for (auto [bound, target] : {std::pair{start, &first}, std::pair{stop, &last}}) {
    if (bound == nullptr || bound->isNone()) continue;
    EXO_ASSIGN(int64_t position, sliceBound(*bound));
    if (position < 0) position += length;  // cannot overflow: length is positive
    *target = std::clamp(position, low, high);
  }
  std::vector<size_t> indices;
  if (!budget.spend(size)) return Error(budget.check().error());
  stride = std::clamp(stride, -length - 1, length + 1);  // keeps i + stride from overflowing
  for (int64_t i = first; is_forward ? i < last : i > last; i += stride) indices.push_back(static_cast<size_t>(i));
  return indices;
}

Result<Value> sliceString(const Value& value, const Value* start, const Value* stop, const Value* step, Budget& budget) {
  const String& string = value.asString();
  EXO_ASSIGN(auto indices, sliceIndices(string.length, start, stop, step, budget));
  QuotedText out;
  const bool is_run = step == nullptr || step->isNone() || (step->isIntegral() && step->asInt() == 1);
  if (indices.empty()) return string.is_markup ? Value::markup(out) : Value::string(out);
  if (is_run) {
    const size_t begin = byteOffset(string.content.text, indices.front());
    out = string.content.part(begin, byteOffset(string.content.text, indices.back() + 1) - begin);
  } else {
    const auto letters = splitCodePoints(string.content.text);
    for (size_t i : indices) out.text += letters[i];
    if (!string.content.quoted.empty()) out.quoteAll();
  }
  return string.is_markup ? Value::markup(std::move(out)) : Value::string(std::move(out));
}

Value undefinedItem(const Value& object, const Value& key, Budget& budget) {
  if (key.isString()) return Value::undefined("'" + describe(object) + "' has no attribute " + reprString(key.text()));
  auto text = toRepr(key, budget);
  return Value::undefined(describe(object) + " has no element " + (text.ok() ? *text : typeName(key)));
}

/// The element, or nothing when there is none (or the object has no elements).
std::optional<Value> element(const Value& object, const Value& key, Budget& budget) {
  if (object.isDict()) {
    const Value* found = object.asDict().find(key, budget);
    return found ? std::optional(*found) : std::nullopt;
  }
  if (object.type() == Type::kNamespace && key.isString()) {
    const Value* found = object.asNamespace().find(key.text());
    return found ? std::optional(*found) : std::nullopt;
  }
  bool is_indexable = object.isString() || isListOrTuple(object) || object.isSequence(SequenceKind::kRange);
  if (!is_indexable || !key.isIntegral()) return std::nullopt;
  auto length = static_cast<int64_t>(object.isString() ? object.asString().length : object.asSequence().items.size());
  int64_t index = key.asInt() < 0 ? key.asInt() + length : key.asInt();
  if (index < 0 || index >= length) return std::nullopt;
  if (object.isSequence()) return object.asSequence().items[static_cast<size_t>(index)];
  const String& string = object.asString();
  if (string.isAscii()) return Value::string(string.content.part(static_cast<size_t>(index), 1));
  budget.spendBytes(string.content.text.size());
  size_t begin = byteOffset(string.content.text, static_cast<size_t>(index)), end = begin;
  nextCodePoint(string.content.text, end);
  return Value::string(string.content.part(begin, end - begin));
}

}  // namespace

Status requireDefined(const Value& value) {
  if (value.isUndefined()) return invalid(value.whyUndefined());
  return {};
}

Result<Value> concatenate(const QuotedText& left, const QuotedText& right, Budget& budget) {
  EXO_TRY(budget.allow(left.sizeBytes() + right.sizeBytes()));
  QuotedText both = left;
  both += right;
  return Value::string(std::move(both));
}

Result<Value> applyBinary(BinaryOp op, const Value& left, const Value& right, Budget& budget) {
  if (left.isIntegral() && right.isIntegral()) return integerBinary(op, left.asInt(), right.asInt());
  if (left.isNumber() && right.isNumber()) return floatBinary(op, left.asFloat(), right.asFloat());
  // "%s" % undefined formats the empty text; every other use of an undefined value is an error.
  bool formats = op == BinaryOp::kModulo && left.isString();
  EXO_TRY(requireDefined(left));
  if (!formats) EXO_TRY(requireDefined(right));
  if (op == BinaryOp::kAdd) return add(left, right, budget);
  if (op == BinaryOp::kMultiply) return multiply(left, right, budget);
  if (!formats) return unsupportedOperands(op, left, right);
  EXO_ASSIGN(const Value text, formatPercent(left, right, budget));
  return hasQuotes(left, budget) || hasQuotes(right, budget) ? quotedWhole(text) : text;
}

Result<Value> negate(const Value& value) {
  EXO_TRY(requireDefined(value));
  if (value.isIntegral()) return integerBinary(BinaryOp::kSubtract, 0, value.asInt());
  if (value.type() == Type::kFloat) return Value::real(-value.asFloat());
  return invalid("bad operand type for unary -: '", typeName(value), "'");
}

Result<Value> unaryPlus(const Value& value) {
  EXO_TRY(requireDefined(value));
  if (value.isIntegral()) return Value::integer(value.asInt());
  if (value.type() == Type::kFloat) return value;
  return invalid("bad operand type for unary +: '", typeName(value), "'");
}

Result<bool> applyComparison(Comparison comparison, const Value& left, const Value& right, Budget& budget) {
  switch (comparison) {
    case Comparison::kEqual: return equals(left, right, budget);
    case Comparison::kNotEqual: return !equals(left, right, budget);
    case Comparison::kIn: return contains(right, left, budget);
    case Comparison::kNotIn: {
      EXO_ASSIGN(bool found, contains(right, left, budget));
      return !found;
    }
    default: break;
  }
  bool has_nan = left.isNumber() && right.isNumber() && (std::isnan(left.asFloat()) || std::isnan(right.asFloat()));
  if (has_nan) return false;
  EXO_ASSIGN(int order, compare(left, right, symbol(comparison), budget));
  switch (comparison) {
    case Comparison::kLess: return order < 0;
    case Comparison::kLessEqual: return order <= 0;
    case Comparison::kGreater: return order > 0;
    default: return order >= 0;
  }
}

Result<bool> contains(const Value& container, const Value& element, Budget& budget) {
  if (container.isString()) {
    if (element.isUndefined()) return invalid("'in <string>' requires string as left operand, not Undefined");
    if (!element.isString()) return invalid("'in <string>' requires string as left operand, not ", typeName(element));
    EXO_TRY(budget.allow(container.text().size()));
    return container.text().find(element.text()) != std::string::npos;
  }
  if (container.isDict()) {
    if (!isHashable(element)) return invalid("unhashable type: '", typeName(element), "'");
    return container.asDict().find(element, budget) != nullptr;
  }
  if (!isIterable(container)) return invalid("argument of type '", typeName(container), "' is not iterable");
  EXO_ASSIGN(auto items, iterate(container, budget));
  for (const Value& item : items) {
    if (equals(item, element, budget)) return true;
  }
  return false;
}

Result<Value> getAttribute(const Value& object, const std::string& name) {
  EXO_TRY(requireDefined(object));
  switch (methodStatus(object, name)) {
    case MethodStatus::kSupported: return Value::method(object, name);
    case MethodStatus::kUnsafe:
      return Value::undefined("access to attribute " + reprString(name) + " of '" + typeName(object) + "' object is unsafe. Templates cannot modify their values");
    case MethodStatus::kUnsupported:
      return makeError(ErrorCode::kUnsupported, "the attribute ", reprString(name), " of '", typeName(object), "' is not supported");
    case MethodStatus::kNone: break;
  }
  const Value* found = object.isDict() ? object.asDict().find(std::string_view(name)) : nullptr;
  if (object.type() == Type::kNamespace) found = object.asNamespace().find(name);
  if (found != nullptr) return *found;
  if (name.starts_with("__")) return makeError(ErrorCode::kUnsupported, "access to attribute ", reprString(name), " of '", typeName(object), "' object is unsafe");
  return Value::undefined("'" + describe(object) + "' has no attribute " + reprString(name));
}

Result<Value> getItem(const Value& object, const Value& key, Budget& budget) {
  EXO_TRY(requireDefined(object));
  if (object.isDict() && !isHashable(key)) return undefinedItem(object, key, budget);
  if (auto found = element(object, key, budget)) return std::move(*found);
  if (key.isString() && !object.isUndefined() && methodStatus(object, key.text()) != MethodStatus::kNone) return getAttribute(object, key.text());
  return undefinedItem(object, key, budget);
}

Result<Value> slice(const Value& object, const Value* start, const Value* stop, const Value* step, Budget& budget) {
  EXO_TRY(requireDefined(object));
  if (object.isString()) return sliceString(object, start, stop, step, budget);
  if (!isListOrTuple(object) && !object.isSequence(SequenceKind::kRange)) {
    return Value::undefined(describe(object) + " has no element slice");
  }
  const Sequence& sequence = object.asSequence();
  EXO_ASSIGN(auto indices, sliceIndices(sequence.items.size(), start, stop, step, budget));
  if (sequence.kind == SequenceKind::kRange) return makeError(ErrorCode::kUnsupported, "a slice of a range is not supported; use range(…)|list");
  Sequence out{sequence.kind, {}};
  out.items.reserve(indices.size());
  for (size_t i : indices) out.items.push_back(sequence.items[i]);
  return Value::sequence(std::move(out));
}

}  // namespace exo::jinja
