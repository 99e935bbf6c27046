// expert_matmul: y[t, j, n] = sum_k x[t, k] * w[experts[t, j], n, k], or with x[t, j, k] on the way down.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferExpert(const Attrs&, Types in, Types) {
  const bool quantized = in[0].encoding == Encoding::kX8 && isBlocked(in[1].encoding);
  EXO_REQUIRE((in[0].encoding == Encoding::kF32 || quantized) && (in[0].rank() == 2 || in[0].rank() == 3), "expert_matmul", "x is f32[T, K] or f32[T, k, K]", in[0]);
  EXO_REQUIRE(in[1].rank() == 3 && in[1].shape[2] == in[0].shape.back(), "expert_matmul", "weight is [experts, N, " + toString(in[0].shape.back()) + "]", in[1]);
  EXO_REQUIRE(in[2].encoding == Encoding::kI32 && in[2].rank() == 2 && (in[0].rank() == 2 || in[2].shape[1] == in[0].shape[1]), "expert_matmul", "experts are i32[T, k]", in[2]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], in[2].shape[1], in[1].shape[1]}}};
}

FactorMap expertFactors(const Attrs&, Types in) {
  return in[0].rank() == 2 ? factors("tk,enk,tj->tjn", "ej") : factors("tjk,enk,tj->tjn", "ej");
}

// Reads the experts that are active: at most tokens * k of them.
Cost costExpert(const Attrs& attrs, Types in, Types out, StepSize step) {
  Cost cost = streamCost(attrs, in.subspan(0, 1), out, step);
  const double experts = static_cast<double>(in[1].shape[0].size());
  const double chosen = static_cast<double>(in[2].shape[1].size()) / experts;
  const double active = 1 - std::pow(1 - chosen, static_cast<double>(step.tokens));  // share of experts some token chose
  cost.flops = 2.0 * static_cast<double>(elements(out[0], step)) * static_cast<double>(in[1].shape[2].size());
  cost.weight_bytes = active * static_cast<double>(sizeBytes(in[1]));
  return cost;
}

Status evalExpert(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t k_size = static_cast<size_t>(in[0]->columns()), n_size = static_cast<size_t>(in[1]->shape[1]);
  const size_t slots = static_cast<size_t>(in[2]->columns());
  for (size_t at = 0; at < in[2]->i.size(); ++at) {
    const float* x = in[0]->f.data() + (in[0]->shape.size() == 2 ? at / slots : at) * k_size;
    const float* w = in[1]->f.data() + static_cast<size_t>(in[2]->i[at]) * n_size * k_size;
    for (size_t n = 0; n < n_size; ++n) {
      double sum = 0;
      for (size_t k = 0; k < k_size; ++k) sum += static_cast<double>(x[k]) * w[n * k_size + k];
      out[0].f[at * n_size + n] = static_cast<float>(sum);
    }
  }
  return {};
}
}  // namespace

const OpDef kExpertMatMulDef = {"expert_matmul", {"x", "weight", "experts"}, kPure, defaultAttrs<NoAttrs>, inferExpert, expertFactors, costExpert, evalExpert};

}  // namespace exo
