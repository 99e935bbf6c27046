// head_norm: rms_norm of each head by itself (qk-norm), x f32[T, heads * head_dim], weight f32[head_dim].
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferHeadNorm(const Attrs& attrs, Types in, Types) {
  const int64_t head_dim = as<HeadNormAttrs>(attrs).head_dim;
  EXO_REQUIRE(isActivation(in[0]) && head_dim > 0 && in[0].shape[1].size() % head_dim == 0, "head_norm", "x is f32[T, heads * " + std::to_string(head_dim) + "]", in[0]);
  EXO_REQUIRE(isVector(in[1], Encoding::kF32, head_dim), "head_norm", "weight is f32[" + std::to_string(head_dim) + "]", in[1]);
  return std::vector<Type>{in[0]};
}

FactorMap headNormFactors(const Attrs&, Types) { return factors("tq,d->tq", "d"); }

Status evalHeadNorm(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<HeadNormAttrs>(attrs);
  const size_t dim = static_cast<size_t>(a.head_dim);
  for (size_t at = 0; at < in[0]->f.size(); at += dim) {
    double sum = 0;
    for (size_t d = 0; d < dim; ++d) sum += static_cast<double>(in[0]->f[at + d]) * in[0]->f[at + d];
    const double factor = 1 / std::sqrt(sum / static_cast<double>(dim) + a.epsilon);
    for (size_t d = 0; d < dim; ++d) out[0].f[at + d] = static_cast<float>(in[0]->f[at + d] * factor * (a.offset + in[1]->f[d]));
  }
  return {};
}
}  // namespace

const OpDef kHeadNormDef = {"head_norm", {"x", "weight"}, kPure | kElementwise, defaultAttrs<HeadNormAttrs>, inferHeadNorm, headNormFactors, streamCost, evalHeadNorm, headColumns<HeadNormAttrs>};

}  // namespace exo
