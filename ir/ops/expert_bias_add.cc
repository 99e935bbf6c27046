// expert_bias_add: y[t, j, n] = x[t, j, n] + bias[experts[t, j], n]: what comes of a token's j-th expert gets that expert's bias.
// Like bias_add not linear in the sense of partial sums; of those, expert_bias_sum makes the biases apart.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferExpertBias(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].encoding == Encoding::kF32 && in[0].rank() == 3 && !in[0].shape[2].isSymbol(), "expert_bias_add", "x is f32[T, k, N]", in[0]);
  EXO_REQUIRE(in[1].encoding == Encoding::kF32 && in[1].rank() == 2 && isConcrete(in[1]) && in[1].shape[1] == in[0].shape[2], "expert_bias_add",
              "bias is f32[experts, " + toString(in[0].shape[2]) + "]", in[1]);
  const Type experts{Encoding::kI32, {in[0].shape[0], in[0].shape[1]}};
  EXO_REQUIRE(in[2] == experts, "expert_bias_add", "experts are " + toString(experts), in[2]);
  return std::vector<Type>{in[0]};
}

FactorMap expertBiasFactors(const Attrs&, Types) { return factors("tjn,en,tj->tjn", "ej"); }

/// Of the table, only the rows of the chosen experts are read, and those are few.
Cost costExpertBias(const Attrs& attrs, Types in, Types out, StepSize step) { return streamCost(attrs, in.subspan(0, 1), out, step); }

Status evalExpertBias(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = static_cast<size_t>(in[1]->columns());
  for (size_t pair = 0; pair < in[2]->i.size(); ++pair) {
    const float* bias = in[1]->f.data() + static_cast<size_t>(in[2]->i[pair]) * width;
    for (size_t n = 0; n < width; ++n) out[0].f[pair * width + n] = in[0]->f[pair * width + n] + bias[n];
  }
  return {};
}
}  // namespace

const OpDef kExpertBiasAddDef = {"expert_bias_add", {"x", "bias", "experts"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferExpertBias, expertBiasFactors, costExpertBias, evalExpertBias};

}  // namespace exo
