// weighted_sum: y[t, h] = sum_j weights[t, j] * x[t, j, h], in slot order. Linear in x: partial sums pass through.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferWeightedSum(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].encoding == Encoding::kF32 && in[0].rank() == 3, "weighted_sum", "x is f32[T, k, width]", in[0]);
  const Type weights{Encoding::kF32, {in[0].shape[0], in[0].shape[1]}};
  EXO_REQUIRE(in[1] == weights, "weighted_sum", "weights are " + toString(weights), in[1]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], in[0].shape[2]}}};
}

FactorMap weightedSumFactors(const Attrs&, Types) {
  FactorMap map = factors("tjh,tj->th", "j");
  map.linear = {0};
  return map;
}

Status evalWeightedSum(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = static_cast<size_t>(in[0]->columns()), slots = static_cast<size_t>(in[1]->columns());
  for (size_t t = 0; t < static_cast<size_t>(out[0].rows()); ++t) {
    for (size_t h = 0; h < width; ++h) {
      double sum = 0;
      for (size_t j = 0; j < slots; ++j) sum += static_cast<double>(in[1]->f[t * slots + j]) * in[0]->f[(t * slots + j) * width + h];
      out[0].f[t * width + h] = static_cast<float>(sum);
    }
  }
  return {};
}
}  // namespace

const OpDef kWeightedSumDef = {"weighted_sum", {"x", "weights"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferWeightedSum, weightedSumFactors, streamCost, evalWeightedSum};

}  // namespace exo
