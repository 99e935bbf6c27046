// silu_mul: y = act(gate) * up (SwiGLU and GEGLU, Shazeer 2020). Any rank: experts have [T, k, I].
// clamped_swiglu (gpt-oss): y = g * sigmoid(1.702 g) * (u + 1) with g = min(gate, limit), u = up within -limit..limit.
// silu(x) = x * sigmoid(x). gelu_tanh(x) = x/2 * (1 + tanh(u)) = x * sigmoid(2u), u = sqrt(2/pi) * (x + 0.044715 x³).
#include <numbers>

#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferSiluMul(const Attrs& attrs, Types in, Types) {
  const auto& a = as<GateAttrs>(attrs);
  if ((a.gate == Gate::kClampedSwiGlu) != (a.limit > 0)) return invalid("silu_mul: limit is above 0 for clamped_swiglu and 0 for others, got ", a.limit);
  EXO_REQUIRE(in[0].encoding == Encoding::kF32 && (in[0].rank() == 2 || in[0].rank() == 3), "silu_mul", "gate is f32[T, N] or f32[T, k, N]", in[0]);
  EXO_REQUIRE(in[1] == in[0], "silu_mul", "up is like gate, " + toString(in[0]), in[1]);
  return std::vector<Type>{in[0]};
}

FactorMap siluFactors(const Attrs&, Types in) { return in[0].rank() == 3 ? factors("tjn,tjn->tjn") : factors("tn,tn->tn"); }

double activated(Gate gate, double x) {
  const double u = gate == Gate::kSilu ? x / 2 : std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * u));
}

double product(const GateAttrs& a, double gate, double up) {
  if (a.gate != Gate::kClampedSwiGlu) return activated(a.gate, gate) * up;
  const double g = std::min(gate, a.limit), u = std::clamp(up, -a.limit, a.limit);
  return g / (1 + std::exp(-1.702 * g)) * (u + 1);
}

Status evalSiluMul(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  for (size_t at = 0; at < in[0]->f.size(); ++at) {
    out[0].f[at] = static_cast<float>(product(as<GateAttrs>(attrs), in[0]->f[at], in[1]->f[at]));
  }
  return {};
}
}  // namespace

const OpDef kSiluMulDef = {"silu_mul", {"gate", "up"}, kPure | kElementwise, defaultAttrs<GateAttrs>, inferSiluMul, siluFactors, streamCost, evalSiluMul, anyColumn};

}  // namespace exo
