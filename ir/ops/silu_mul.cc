// silu_mul: y = gate * sigmoid(gate) * up (SwiGLU, Shazeer 2020). Any rank: experts have [T, k, I].
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferSiluMul(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].encoding == Encoding::kF32 && (in[0].rank() == 2 || in[0].rank() == 3), "silu_mul", "gate is f32[T, N] or f32[T, k, N]", in[0]);
  EXO_REQUIRE(in[1] == in[0], "silu_mul", "up is like gate, " + toString(in[0]), in[1]);
  return std::vector<Type>{in[0]};
}

FactorMap siluFactors(const Attrs&, Types in) { return in[0].rank() == 3 ? factors("tjn,tjn->tjn") : factors("tn,tn->tn"); }

Status evalSiluMul(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  for (size_t at = 0; at < in[0]->f.size(); ++at) {
    const double gate = in[0]->f[at];
    out[0].f[at] = static_cast<float>(gate / (1 + std::exp(-gate)) * in[1]->f[at]);
  }
  return {};
}
}  // namespace

const OpDef kSiluMulDef = {"silu_mul", {"gate", "up"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferSiluMul, siluFactors, streamCost, evalSiluMul, anyColumn};

}  // namespace exo
