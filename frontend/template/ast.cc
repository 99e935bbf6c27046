#include "frontend/template/ast.h"

namespace exo::jinja {

const char* name(ExprKind kind) {
  switch (kind) {
    case ExprKind::kConstant: return "a constant";
    case ExprKind::kName: return "a name";
    case ExprKind::kList: return "a list";
    case ExprKind::kTuple: return "a tuple";
    case ExprKind::kDict: return "a dict";
    case ExprKind::kAttribute: return "an attribute";
    case ExprKind::kItem: return "an item";
    case ExprKind::kSlice: return "a slice";
    case ExprKind::kCall: return "a call";
    case ExprKind::kFilter: return "a filter";
    case ExprKind::kTest: return "a test";
    default: return "an expression";
  }
}

const char* symbol(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd: return "+";
    case BinaryOp::kSubtract: return "-";
    case BinaryOp::kMultiply: return "*";
    case BinaryOp::kDivide: return "/";
    case BinaryOp::kFloorDivide: return "//";
    case BinaryOp::kModulo: return "%";
    case BinaryOp::kPower: return "**";
  }
  return "?";
}

const char* symbol(Comparison comparison) {
  switch (comparison) {
    case Comparison::kEqual: return "==";
    case Comparison::kNotEqual: return "!=";
    case Comparison::kLess: return "<";
    case Comparison::kLessEqual: return "<=";
    case Comparison::kGreater: return ">";
    case Comparison::kGreaterEqual: return ">=";
    case Comparison::kIn: return "in";
    case Comparison::kNotIn: return "not in";
  }
  return "?";
}

}  // namespace exo::jinja
