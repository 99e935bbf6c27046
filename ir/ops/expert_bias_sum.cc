// expert_bias_sum: y[t, h] = sum_j weights[t, j] * bias[experts[t, j], h], in slot order: the biases of down projections. The
// projections themselves are partial sums where experts are split; the biases must be added once.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferExpertBiasSum(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "expert_bias_sum", "weights are f32[T, k]", in[0]);
  const Type experts{Encoding::kI32, in[0].shape};
  EXO_REQUIRE(in[1] == experts, "expert_bias_sum", "experts are " + toString(experts), in[1]);
  EXO_REQUIRE(in[2].encoding == Encoding::kF32 && in[2].rank() == 2 && isConcrete(in[2]), "expert_bias_sum", "bias is f32[experts, width]", in[2]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], in[2].shape[1]}}};
}

FactorMap expertBiasSumFactors(const Attrs&, Types) { return factors("tj,tj,eh->th", "ej"); }

Cost costExpertBiasSum(const Attrs& attrs, Types in, Types out, StepSize step) { return streamCost(attrs, in.subspan(0, 2), out, step); }

Status evalExpertBiasSum(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = static_cast<size_t>(in[2]->columns()), slots = static_cast<size_t>(in[0]->columns());
  for (size_t t = 0; t < static_cast<size_t>(out[0].rows()); ++t) {
    for (size_t h = 0; h < width; ++h) {
      double sum = 0;
      for (size_t j = t * slots; j < (t + 1) * slots; ++j) sum += static_cast<double>(in[0]->f[j]) * in[2]->f[static_cast<size_t>(in[1]->i[j]) * width + h];
      out[0].f[t * width + h] = static_cast<float>(sum);
    }
  }
  return {};
}
}  // namespace

const OpDef kExpertBiasSumDef = {"expert_bias_sum", {"weights", "experts", "bias"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferExpertBiasSum, expertBiasSumFactors, costExpertBiasSum, evalExpertBiasSum};

}  // namespace exo
