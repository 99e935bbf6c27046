// sigmoid_mul: y[t, h] = x[t, h] * sigmoid(gate[t, 0]): a shared expert's share. Linear in x: partial sums pass through.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferSigmoidMul(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "sigmoid_mul", "x is f32[T, width]", in[0]);
  const Type gate{Encoding::kF32, {in[0].shape[0], 1}};
  EXO_REQUIRE(in[1] == gate, "sigmoid_mul", "gate is " + toString(gate), in[1]);
  return std::vector<Type>{in[0]};
}

FactorMap sigmoidMulFactors(const Attrs&, Types) {
  FactorMap map = factors("th,to->th", "o");
  map.linear = {0};
  return map;
}

Status evalSigmoidMul(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = static_cast<size_t>(in[0]->columns());
  for (size_t at = 0; at < in[0]->f.size(); ++at) {
    out[0].f[at] = static_cast<float>(in[0]->f[at] / (1 + std::exp(-static_cast<double>(in[1]->f[at / width]))));
  }
  return {};
}
}  // namespace

const OpDef kSigmoidMulDef = {"sigmoid_mul", {"x", "gate"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferSigmoidMul, sigmoidMulFactors, streamCost, evalSigmoidMul, anyColumn};

}  // namespace exo
