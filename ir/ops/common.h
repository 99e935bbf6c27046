// What op definitions share: attribute access, type conditions with uniform messages, and common costs.
#pragma once

#include <algorithm>
#include <cmath>

#include "ir/ops/definitions.h"

namespace exo::ops {

using Types = std::span<const Type>;

template <class A>
Attrs defaultAttrs() {
  return A{};
}
template <class A>
const A& as(const Attrs& attrs) {
  return std::get<A>(attrs);
}

/// Condition of an op on its types: `if (auto e = require(ok, "matmul", "K of rhs must be 64", rhs)) return *e;`
inline std::optional<Error> require(bool condition, std::string_view op, const std::string& expected, const Type& got) {
  if (condition) return std::nullopt;
  return invalid(op, ": ", expected, ", got ", toString(got));
}
#define EXO_REQUIRE(condition, op, expected, got) \
  if (auto failed = ::exo::ops::require(condition, op, expected, got)) return *failed

inline bool isVector(const Type& type, Encoding encoding, Dim size) {
  return type == Type{encoding, {size}};
}
inline bool isConcrete(const Type& type) {
  return std::none_of(type.shape.begin(), type.shape.end(), [](Dim dim) { return dim.isSymbol(); });
}
/// f32 with rank 2 and a concrete number of columns.
inline bool isActivation(const Type& type) {
  return type.encoding == Encoding::kF32 && type.rank() == 2 && !type.shape[1].isSymbol();
}

/// A cache whose values are a part of its keys.
inline bool isLatentCache(const Type& cache) { return cache.shape[1] == Dim(1); }

/// The result is what the text or builder declared.
inline Result<std::vector<Type>> declaredType(const Attrs&, Types, Types declared) {
  if (declared.size() != 1) return invalid("a source needs exactly one declared type, got ", declared.size());
  return std::vector<Type>{declared[0]};
}

/// Column units: any column by itself; a head; a block of activations; a panel of weight rows.
inline int64_t anyColumn(const Attrs&, Types) { return 1; }
template <class A>
int64_t headColumns(const Attrs& attrs, Types) {
  return as<A>(attrs).head_dim;
}

inline Cost noCost(const Attrs&, Types, Types, StepSize) { return {}; }
/// Reads operands and writes results once; one FLOP per result element.
inline Cost streamCost(const Attrs&, Types in, Types out, StepSize step) {
  Cost cost;
  for (const Type& type : in) cost.activation_bytes += static_cast<double>(sizeBytes(type, step));
  for (const Type& type : out) {
    cost.activation_bytes += static_cast<double>(sizeBytes(type, step));
    cost.flops += static_cast<double>(elements(type, step));
  }
  return cost;
}
inline Cost wireCost(const Attrs&, Types in, Types out, StepSize step) {
  Cost cost;
  for (const Type& type : in.empty() ? out : in) cost.wire_bytes += static_cast<double>(sizeBytes(type, step));
  return cost;
}

inline FactorMap noFactors(const Attrs&, Types) { return {}; }

/// Collectives and sources: the interpreter provides their values.
inline Status providedByInterpreter(const Attrs&, const EvalStep&, std::span<const Tensor* const>, std::span<Tensor>) {
  return invalid("this op has no value of its own: the interpreter provides it");
}

}  // namespace exo::ops
