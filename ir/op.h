// What an op is: its one definition, from which printer, parser, verifier, passes, cost model and interpreter read.
// ir/ops/ops.def lists them all; each lives in ir/ops/<mnemonic>.cc.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/attrs.h"
#include "ir/base/result.h"
#include "ir/sharding.h"
#include "ir/type.h"

namespace exo {

/// Makes a slot without a value not compile.
template <class F>
class Required {
 public:
  Required(F value) : value_(value) {}
  operator F() const { return value_; }

 private:
  F value_;
};

enum class Op {
#define EXO_OP(name, def) k##name,
#include "ir/ops/ops.def"
#undef EXO_OP
};

enum Trait : unsigned {
  kPure = 0,
  kSource = 1,      // no operands; the declared result type is the truth
  kGlobal = 2,      // printed with @: weights and caches, owned by the model, not by a step
  kState = 4,       // reads or writes what outlives the step; never merged or dropped
  kCollective = 8, // talks to other ranks
  kEverywhere = 16, // belongs to no stage: each rank that needs it has it
  kElementwise = 32, // each output row depends on the same row of the inputs only
  kWholeRows = 64    // each column of the result depends on whole rows of the operands
};

/// FLOP and bytes of one op in one step, on the shapes it has.
struct Cost {
  double flops = 0;         // multiply and add count as two
  double weight_bytes = 0;  // read from weights once per step
  double state_bytes = 0;   // read from and written to the KV cache, per token of context: times context length
  double activation_bytes = 0;
  double wire_bytes = 0;    // payload of a collective, per rank
  Cost& operator+=(const Cost& other);
};

/// Einsum-like map: one string per operand and result, one letter per dimension; equal letters are one factor. A factor
/// may appear with different sizes (heads and heads x head_dim): its ranges scale in proportion.
struct FactorMap {
  std::vector<std::string> operands, results;
  std::string whole;     // factors that may not be split
  Partial::Kind reduction = Partial::Kind::kSum;  // what a split factor leaves that no result has
  std::vector<int> linear;  // operands in which the op is jointly linear: when all are partial sums, so is the result
};
/// factors("tk,nk->tn"); whole: "h".
FactorMap factors(std::string_view map, std::string_view whole = "", Partial::Kind reduction = Partial::Kind::kSum);

/// A tensor in the reference interpreter: f32 or i32 data, row-major.
struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> f;
  std::vector<int32_t> i;
  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const;  // elements / columns
};
/// What a reference function may know besides its operands.
struct EvalStep {
  int64_t max_context = 0;
  std::vector<int32_t> sequence;  // [T]
};

using InferFn = Result<std::vector<Type>> (*)(const Attrs&, std::span<const Type> operands, std::span<const Type> declared);
using FactorsFn = FactorMap (*)(const Attrs&, std::span<const Type> operands);
using CostFn = Cost (*)(const Attrs&, std::span<const Type> operands, std::span<const Type> results, StepSize);
/// The smallest number of adjacent columns that can be computed apart from the others.
using ColumnUnitFn = int64_t (*)(const Attrs&, std::span<const Type> operands);
using ReferenceFn = Status (*)(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out);

struct OpDef {
  std::string_view mnemonic;
  std::vector<std::string_view> operands;
  unsigned traits;
  Required<Attrs (*)()> attrs;        // default attributes
  Required<InferFn> infer;            // result types, or why not
  Required<FactorsFn> factors;        // sharding rule
  Required<CostFn> cost;
  Required<ReferenceFn> reference;    // slow and obvious; collectives never reach it (the interpreter meets them)
  ColumnUnitFn column_unit = nullptr; // null: a row's result cannot be divided
  size_t optional_operands = 0;       // so many of the last operands may be left out
  bool has(Trait trait) const { return traits & trait; }
};

/// How many operands a node must have at least.
inline size_t leastOperands(const OpDef& def) { return def.operands.size() - def.optional_operands; }

const OpDef& definition(Op op);
/// Null when there is none of that name.
const OpDef* findOp(std::string_view mnemonic, Op* op);
std::span<const Op> allOps();

}  // namespace exo
