// expert_matmul: y[t, j, n] = sum_k x[t, k] * w[e, n, k] for the expert e of pair (t, j), as expert_dispatch sorted them;
// with x[t, j, k] on the way down.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferExpert(const Attrs&, Types in, Types) {
  const bool quantized = in[0].encoding == Encoding::kX8 && isBlocked(in[1].encoding);
  EXO_REQUIRE((in[0].encoding == Encoding::kF32 || quantized) && (in[0].rank() == 2 || in[0].rank() == 3), "expert_matmul", "x is f32[T, K] or f32[T, k, K]", in[0]);
  EXO_REQUIRE(in[1].rank() == 3 && isConcrete(in[1]) && in[1].shape[2] == in[0].shape.back(), "expert_matmul", "weight is [experts, N, " + toString(in[0].shape.back()) + "]", in[1]);
  EXO_REQUIRE(in[2].encoding == Encoding::kI32 && in[2].rank() == 2 && (in[0].rank() == 2 || in[2].shape[1] == in[0].shape[1]), "expert_matmul", "order is i32[T, k]", in[2]);
  EXO_REQUIRE(isVector(in[3], Encoding::kI32, in[1].shape[0].size() + 1), "expert_matmul", "segments are i32[experts + 1]", in[3]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], in[2].shape[1], in[1].shape[1]}}};
}

FactorMap expertFactors(const Attrs&, Types in) {
  return in[0].rank() == 2 ? factors("tk,enk,tj,s->tjn", "ejs") : factors("tjk,enk,tj,s->tjn", "ejs");
}

// Reads the experts that are active: those which at least one token chose, if tokens choose independently.
Cost costExpert(const Attrs& attrs, Types in, Types out, StepSize step) {
  Cost cost = streamCost(attrs, in.subspan(0, 1), out, step);
  const double chosen = static_cast<double>(in[2].shape[1].size()) / static_cast<double>(in[1].shape[0].size());
  const double active = 1 - std::pow(1 - chosen, static_cast<double>(step.tokens));
  cost.flops = 2.0 * static_cast<double>(elements(out[0], step)) * static_cast<double>(in[1].shape[2].size());
  cost.weight_bytes = active * static_cast<double>(sizeBytes(in[1]));
  return cost;
}

Status evalExpert(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t k_size = static_cast<size_t>(in[0]->columns()), n_size = static_cast<size_t>(in[1]->shape[1]);
  const size_t slots = static_cast<size_t>(in[2]->columns());
  for (size_t e = 0; e + 1 < in[3]->i.size(); ++e) {
    const float* w = in[1]->f.data() + e * n_size * k_size;
    for (int32_t i = in[3]->i[e]; i < in[3]->i[e + 1]; ++i) {
      const size_t pair = static_cast<size_t>(in[2]->i[static_cast<size_t>(i)]);
      const float* x = in[0]->f.data() + (in[0]->shape.size() == 2 ? pair / slots : pair) * k_size;
      for (size_t n = 0; n < n_size; ++n) {
        double sum = 0;
        for (size_t k = 0; k < k_size; ++k) sum += static_cast<double>(x[k]) * w[n * k_size + k];
        out[0].f[pair * n_size + n] = static_cast<float>(sum);
      }
    }
  }
  return {};
}
}  // namespace

const OpDef kExpertMatMulDef = {"expert_matmul", {"x", "weight", "order", "segments"}, kPure, defaultAttrs<NoAttrs>, inferExpert, expertFactors, costExpert, evalExpert};

}  // namespace exo
