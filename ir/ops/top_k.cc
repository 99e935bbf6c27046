// top_k: the k largest logits of each row and their vocabulary ids (column + begin), best first; ties: smaller id first.
// Rows with fewer columns than k end in (-inf, -1). On logits split by vocabulary it leaves partial(top_k).
#include <algorithm>
#include <limits>
#include <numeric>

#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferTopK(const Attrs& attrs, Types in, Types) {
  const int64_t k = as<TopKAttrs>(attrs).k;
  EXO_REQUIRE(isActivation(in[0]) && k > 0, "top_k", "logits are f32[R, V] and k is at least 1", in[0]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], k}}, {Encoding::kI32, {in[0].shape[0], k}}};
}

FactorMap topKFactors(const Attrs&, Types) { return factors("rv->rk,rk", "k", Partial::Kind::kTopK); }

Cost costTopK(const Attrs&, Types in, Types, StepSize step) {
  Cost cost;
  cost.activation_bytes = static_cast<double>(sizeBytes(in[0], step));
  return cost;
}

Status evalTopK(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<TopKAttrs>(attrs);
  const int64_t width = in[0]->columns();
  for (int64_t r = 0; r < in[0]->rows(); ++r) {
    const float* row = in[0]->f.data() + r * width;
    std::vector<int32_t> order(static_cast<size_t>(width));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [row](int32_t x, int32_t y) { return row[x] > row[y]; });
    for (int64_t k = 0; k < a.k; ++k) {
      const size_t at = static_cast<size_t>(r * a.k + k);
      out[0].f[at] = k < width ? row[order[static_cast<size_t>(k)]] : -std::numeric_limits<float>::infinity();
      out[1].i[at] = k < width ? order[static_cast<size_t>(k)] + static_cast<int32_t>(a.begin) : -1;
    }
  }
  return {};
}
}  // namespace

const OpDef kTopKDef = {"top_k", {"logits"}, kPure, defaultAttrs<TopKAttrs>, inferTopK, topKFactors, costTopK, evalTopK};

}  // namespace exo
