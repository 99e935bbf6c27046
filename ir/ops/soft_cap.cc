// soft_cap: y = cap * tanh(x / cap), on logits (Gemma 2: Riviere et al. 2024).
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferSoftCap(const Attrs& attrs, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "soft_cap", "x is f32[T, width]", in[0]);
  if (!(as<SoftCapAttrs>(attrs).cap > 0)) return invalid("soft_cap: cap is above 0, got ", as<SoftCapAttrs>(attrs).cap);
  return std::vector<Type>{in[0]};
}

FactorMap softCapFactors(const Attrs&, Types) { return factors("th->th"); }

Status evalSoftCap(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const double cap = as<SoftCapAttrs>(attrs).cap;
  for (size_t at = 0; at < in[0]->f.size(); ++at) out[0].f[at] = static_cast<float>(cap * std::tanh(in[0]->f[at] / cap));
  return {};
}
}  // namespace

const OpDef kSoftCapDef = {"soft_cap", {"x"}, kPure | kElementwise, defaultAttrs<SoftCapAttrs>, inferSoftCap, softCapFactors, streamCost, evalSoftCap, anyColumn};

}  // namespace exo
