// square_sum: y[t, 0] = sum_h x[t, h]². Of columns split over ranks it leaves a partial sum; norm_by_sum reads the whole.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferSquareSum(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "square_sum", "x is f32[T, width]", in[0]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], 1}}};
}

FactorMap squareSumFactors(const Attrs&, Types) { return factors("th->to", "o"); }

Status evalSquareSum(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = static_cast<size_t>(in[0]->columns());
  for (size_t t = 0; t < out[0].f.size(); ++t) {
    double sum = 0;
    for (size_t h = 0; h < width; ++h) sum += static_cast<double>(in[0]->f[t * width + h]) * in[0]->f[t * width + h];
    out[0].f[t] = static_cast<float>(sum);
  }
  return {};
}
}  // namespace

const OpDef kSquareSumDef = {"square_sum", {"x"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferSquareSum, squareSumFactors, streamCost, evalSquareSum};

}  // namespace exo
