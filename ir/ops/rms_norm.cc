// rms_norm: y[t, h] = x[t, h] / sqrt(mean_h(x²) + epsilon) * (offset + weight[h]).
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferNorm(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "rms_norm", "x is f32[T, width]", in[0]);
  EXO_REQUIRE(isVector(in[1], Encoding::kF32, in[0].shape[1]), "rms_norm", "weight is f32[" + toString(in[0].shape[1]) + "]", in[1]);
  return std::vector<Type>{in[0]};
}

FactorMap normFactors(const Attrs&, Types) { return factors("th,h->th", "h"); }

Status evalNorm(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<NormAttrs>(attrs);
  const int64_t width = in[0]->columns();
  for (int64_t t = 0; t < in[0]->rows(); ++t) {
    const float* x = in[0]->f.data() + t * width;
    double sum = 0;
    for (int64_t h = 0; h < width; ++h) sum += static_cast<double>(x[h]) * x[h];
    const double factor = 1 / std::sqrt(sum / static_cast<double>(width) + a.epsilon);
    for (int64_t h = 0; h < width; ++h) out[0].f[static_cast<size_t>(t * width + h)] = static_cast<float>(x[h] * factor * (a.offset + in[1]->f[static_cast<size_t>(h)]));
  }
  return {};
}
}  // namespace

const OpDef kRmsNormDef = {"rms_norm", {"x", "weight"}, kPure | kElementwise, defaultAttrs<NormAttrs>, inferNorm, normFactors, streamCost, evalNorm};

}  // namespace exo
