// bias_add: y[t, n] = x[t, n] + bias[n]. Not linear in the sense of partial sums: the bias must be added once.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferBias(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "bias_add", "x is f32[T, N]", in[0]);
  EXO_REQUIRE(isVector(in[1], Encoding::kF32, in[0].shape[1]), "bias_add", "bias is f32[" + toString(in[0].shape[1]) + "]", in[1]);
  return std::vector<Type>{in[0]};
}

FactorMap biasFactors(const Attrs&, Types) { return factors("tn,n->tn"); }

Status evalBias(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = in[1]->f.size();
  for (size_t at = 0; at < in[0]->f.size(); ++at) out[0].f[at] = in[0]->f[at] + in[1]->f[at % width];
  return {};
}
}  // namespace

const OpDef kBiasAddDef = {"bias_add", {"x", "bias"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferBias, biasFactors, streamCost, evalBias, anyColumn};

}  // namespace exo
