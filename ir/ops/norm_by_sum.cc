// norm_by_sum: rms_norm whose sum of squares is given: y[t, h] = x[t, h] / sqrt(sums[t] / width + epsilon) * weight[h].
// So a norm over a width that is split over ranks (queries and keys of olmo2) costs one number per token on the wire.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferNormBySum(const Attrs& attrs, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "norm_by_sum", "x is f32[T, width]", in[0]);
  const Type sums{Encoding::kF32, {in[0].shape[0], 1}};
  EXO_REQUIRE(in[1] == sums, "norm_by_sum", "sums are " + toString(sums), in[1]);
  EXO_REQUIRE(isVector(in[2], Encoding::kF32, in[0].shape[1]), "norm_by_sum", "weight is f32[" + toString(in[0].shape[1]) + "]", in[2]);
  const int64_t width = as<NormBySumAttrs>(attrs).width;
  EXO_REQUIRE(width > 0 && in[0].shape[1].size() <= width, "norm_by_sum", "x has at most `width` = " + std::to_string(width) + " columns", in[0]);
  return std::vector<Type>{in[0]};
}

FactorMap normBySumFactors(const Attrs&, Types) { return factors("th,to,h->th", "o"); }

Status evalNormBySum(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<NormBySumAttrs>(attrs);
  const size_t width = static_cast<size_t>(in[0]->columns());
  for (size_t at = 0; at < in[0]->f.size(); ++at) {
    const double factor = 1 / std::sqrt(in[1]->f[at / width] / static_cast<double>(a.width) + a.epsilon);
    out[0].f[at] = static_cast<float>(in[0]->f[at] * factor * in[2]->f[at % width]);
  }
  return {};
}
}  // namespace

const OpDef kNormBySumDef = {"norm_by_sum", {"x", "sums", "weight"}, kPure | kElementwise, defaultAttrs<NormBySumAttrs>, inferNormBySum, normBySumFactors, streamCost, evalNormBySum, anyColumn};

}  // namespace exo
