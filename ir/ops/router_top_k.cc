// router_top_k: softmax over all experts or sigmoid of each, the k largest and their experts (best first; ties: smaller id),
// normalised to sum to one if asked, times `factor`. A bias, if given, decides which are chosen, not their weights; so do
// groups (DeepSeek-V3: Liu et al. 2024). Every rank computes it: the router's weights are never split.
#include <algorithm>
#include <limits>
#include <numeric>

#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
/// Indices by value, largest first; ties: smaller index.
std::vector<size_t> descending(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) { return values[x] > values[y]; });
  return order;
}

std::vector<double> sharesOf(Scoring scoring, const float* logits, size_t experts) {
  std::vector<double> shares(logits, logits + experts);
  if (scoring == Scoring::kSigmoid) {
    for (double& share : shares) share = 1 / (1 + std::exp(-share));
    return shares;
  }
  const double largest = *std::max_element(logits, logits + experts);
  double sum = 0;
  for (double& share : shares) sum += share = std::exp(share - largest);
  for (double& share : shares) share /= sum;
  return shares;
}

Result<std::vector<Type>> inferRouter(const Attrs& attrs, Types in, Types) {
  const auto& a = as<RouterAttrs>(attrs);
  const int64_t k = a.k;
  EXO_REQUIRE(isActivation(in[0]) && k > 0 && k <= in[0].shape[1].size(), "router_top_k", "logits are f32[T, experts] with at least k = " + std::to_string(k) + " experts", in[0]);
  const int64_t experts = in[0].shape[1].size();
  if (in.size() > 1) EXO_REQUIRE(isVector(in[1], Encoding::kF32, experts), "router_top_k", "bias is f32[" + std::to_string(experts) + "]", in[1]);
  if (a.groups < 1 || experts % a.groups != 0 || a.top_groups < 1 || a.top_groups > a.groups || a.top_groups * (experts / a.groups) < k) {
    return invalid("router_top_k: top_groups of groups must hold at least k = ", k, " of ", experts, " experts, in groups of one size, got ", a.top_groups, " of ", a.groups);
  }
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], k}}, {Encoding::kI32, {in[0].shape[0], k}}};
}

FactorMap routerFactors(const Attrs&, Types in) { return factors(in.size() > 1 ? "te,e->tk,tk" : "te->tk,tk", "ek"); }

/// Which experts may be chosen: those of the top_groups groups with the largest sums of their two best scores.
std::vector<bool> allowedExperts(const RouterAttrs& a, const std::vector<double>& scores) {
  std::vector<bool> allowed(scores.size(), true);
  if (a.groups <= 1) return allowed;
  const size_t groups = static_cast<size_t>(a.groups), size = scores.size() / groups;
  std::vector<double> sums(groups);
  for (size_t g = 0; g < groups; ++g) {
    std::vector<double> group(scores.begin() + static_cast<std::ptrdiff_t>(g * size), scores.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(group.rbegin(), group.rend());
    sums[g] = group[0] + (size > 1 ? group[1] : 0);
  }
  const std::vector<size_t> order = descending(sums);
  for (size_t place = static_cast<size_t>(a.top_groups); place < groups; ++place) {
    for (size_t e = 0; e < size; ++e) allowed[order[place] * size + e] = false;
  }
  return allowed;
}

void routeRow(const RouterAttrs& a, const float* logits, const float* bias, size_t experts, float* weights, int32_t* ids) {
  const std::vector<double> shares = sharesOf(a.scoring, logits, experts);
  std::vector<double> scores = shares;
  for (size_t e = 0; bias && e < experts; ++e) scores[e] += bias[e];
  const std::vector<bool> allowed = allowedExperts(a, scores);
  for (size_t e = 0; e < experts; ++e) {
    if (!allowed[e]) scores[e] = -std::numeric_limits<double>::infinity();
  }
  const std::vector<size_t> order = descending(scores);
  double chosen = 0;
  for (int64_t k = 0; k < a.k; ++k) chosen += shares[order[static_cast<size_t>(k)]];
  for (int64_t k = 0; k < a.k; ++k) {
    const size_t expert = order[static_cast<size_t>(k)];
    ids[k] = static_cast<int32_t>(expert);
    weights[k] = static_cast<float>(shares[expert] / (a.normalize ? chosen : 1) * a.factor);
  }
}

Status evalRouter(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<RouterAttrs>(attrs);
  const size_t experts = static_cast<size_t>(in[0]->columns());
  for (size_t t = 0; t < static_cast<size_t>(in[0]->rows()); ++t) {
    routeRow(a, in[0]->f.data() + t * experts, in.size() > 1 ? in[1]->f.data() : nullptr, experts, out[0].f.data() + t * static_cast<size_t>(a.k), out[1].i.data() + t * static_cast<size_t>(a.k));
  }
  return {};
}
}  // namespace

const OpDef kRouterTopKDef = {"router_top_k", {"logits", "bias"}, kPure | kElementwise, defaultAttrs<RouterAttrs>, inferRouter, routerFactors, streamCost, evalRouter, nullptr, 1};

}  // namespace exo
