// Python's operators and subscripts on values, as Jinja's sandbox offers them. Errors carry Python's text, without a line.
#pragma once

#include "frontend/template/ast.h"

namespace exo::jinja {

/// The error of using an undefined value; success for any other.
Status requireDefined(const Value& value);

Result<Value> applyBinary(BinaryOp op, const Value& left, const Value& right, Budget& budget);
Result<Value> negate(const Value& value);
Result<Value> unaryPlus(const Value& value);
Result<bool> applyComparison(Comparison comparison, const Value& left, const Value& right, Budget& budget);
Result<bool> contains(const Value& container, const Value& element, Budget& budget);

/// object.name: methods and attributes first, then the key. Undefined if neither; methods that modify are undefined too.
Result<Value> getAttribute(const Value& object, const std::string& name);
/// object[key]: the element first, then the attribute of that name.
Result<Value> getItem(const Value& object, const Value& key, Budget& budget);
/// Null bounds are absent ones.
Result<Value> slice(const Value& object, const Value* start, const Value* stop, const Value* step, Budget& budget);

Result<Value> concatenate(const QuotedText& left, const QuotedText& right, Budget& budget);

}  // namespace exo::jinja
