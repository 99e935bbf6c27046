// The tree a template parses to. Immutable once built, so one tree serves any number of renderings at once. Every node
// knows its line and its height; the parser keeps the height below kMaxTreeHeight, which makes recursion over it safe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "frontend/template/value.h"

namespace exo::jinja {

inline constexpr int kMaxTreeHeight = 256;

enum class ExprKind : uint8_t {
  kConstant,     // constant
  kName,         // name
  kList,         // operands
  kTuple,        // operands; also a target
  kDict,         // operands: key, value, key, value…
  kAttribute,    // operands[0].name
  kItem,         // operands[0][operands[1]]
  kSlice,        // operands[0][operands[1]:operands[2]:operands[3]], 1..3 may be null
  kCall,         // operands[0](arguments)
  kFilter,       // operands[0]|name(arguments)
  kTest,         // operands[0] is name(arguments)
  kNot,
  kNegate,
  kPlus,
  kBinary,       // op
  kConcat,       // operands ~ …
  kAnd,
  kOr,
  kCompare,      // operands[0] comparisons[0] operands[1] comparisons[1] operands[2]…
  kConditional,  // operands: condition, then, else (may be null)
  kCaptured,     // the text of the enclosing filter or set block
  kField,        // only a target: name.field of a namespace
};

enum class BinaryOp : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class Comparison : uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Expr {
  ExprKind kind;
  int line;
  int height = 1;
  std::string name;
  std::string field;
  Value constant;
  std::vector<ExprPtr> operands;
  Arguments arguments;
  BinaryOp op = BinaryOp::kAdd;
  std::vector<Comparison> comparisons;
};

enum class StmtKind : uint8_t { kText, kOutput, kIf, kFor, kSet, kSetBlock, kMacro, kCallBlock, kFilterBlock, kWith, kGeneration, kBreak, kContinue };

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

struct Branch {
  ExprPtr condition;  // null: else
  Body body;
};

/// Parameters of a macro or a call block: the last defaults.size() of them have defaults.
struct Signature {
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

struct Stmt {
  StmtKind kind;
  int line;
  std::string text;                // kText; the name of a kMacro
  std::vector<ExprPtr> exprs;      // kOutput: what is printed; kSet, kFor: the value; kWith: values; kCallBlock: the call;
                                   // kSetBlock, kFilterBlock: the filter over kCaptured (kSetBlock: may be absent)
  std::vector<ExprPtr> targets;    // kSet, kSetBlock, kFor: one; kWith: as many as exprs
  ExprPtr filter;                  // kFor: … if filter
  std::vector<Branch> branches;    // kIf
  Body body;
  Body otherwise;                  // kFor: else
  Signature signature;             // kMacro, kCallBlock
};

/// As errors name it: "a list", "an attribute".
const char* name(ExprKind kind);
const char* symbol(BinaryOp op);
const char* symbol(Comparison comparison);

}  // namespace exo::jinja
