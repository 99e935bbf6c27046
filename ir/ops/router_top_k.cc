// router_top_k: softmax over all experts, the k largest probabilities and their experts (best first; ties: smaller id),
// normalised to sum to one if asked, times `factor`. Every rank computes it: the router's weights are never split.
#include <algorithm>
#include <numeric>

#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferRouter(const Attrs& attrs, Types in, Types) {
  const int64_t k = as<RouterAttrs>(attrs).k;
  EXO_REQUIRE(isActivation(in[0]) && k > 0 && k <= in[0].shape[1].size(), "router_top_k", "logits are f32[T, experts] with at least k = " + std::to_string(k) + " experts", in[0]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], k}}, {Encoding::kI32, {in[0].shape[0], k}}};
}

FactorMap routerFactors(const Attrs&, Types) { return factors("te->tk,tk", "ek"); }

void routeRow(const RouterAttrs& a, const float* logits, size_t experts, float* weights, int32_t* ids) {
  const double largest = *std::max_element(logits, logits + experts);
  std::vector<double> p(experts);
  double sum = 0, chosen = 0;
  for (size_t e = 0; e < experts; ++e) sum += p[e] = std::exp(logits[e] - largest);
  std::vector<int32_t> order(experts);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [logits](int32_t x, int32_t y) { return logits[x] > logits[y]; });
  for (int64_t k = 0; k < a.k; ++k) chosen += p[static_cast<size_t>(order[static_cast<size_t>(k)])];
  for (int64_t k = 0; k < a.k; ++k) {
    ids[k] = order[static_cast<size_t>(k)];
    weights[k] = static_cast<float>(p[static_cast<size_t>(ids[k])] / (a.normalize ? chosen : sum) * a.factor);
  }
}

Status evalRouter(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<RouterAttrs>(attrs);
  const size_t experts = static_cast<size_t>(in[0]->columns());
  for (size_t t = 0; t < static_cast<size_t>(in[0]->rows()); ++t) {
    routeRow(a, in[0]->f.data() + t * experts, experts, out[0].f.data() + t * static_cast<size_t>(a.k), out[1].i.data() + t * static_cast<size_t>(a.k));
  }
  return {};
}
}  // namespace

const OpDef kRouterTopKDef = {"router_top_k", {"logits"}, kPure | kElementwise, defaultAttrs<RouterAttrs>, inferRouter, routerFactors, streamCost, evalRouter};

}  // namespace exo
