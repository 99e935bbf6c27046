// add: y = a + b (residual connections). Linear: partial + partial stays partial.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferAdd(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "add", "a is f32[T, width]", in[0]);
  EXO_REQUIRE(in[1] == in[0], "add", "b is like a, " + toString(in[0]), in[1]);
  return std::vector<Type>{in[0]};
}

FactorMap addFactors(const Attrs&, Types) {
  FactorMap map = factors("th,th->th");
  map.linear = {0, 1};
  return map;
}

Status evalAdd(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  for (size_t at = 0; at < in[0]->f.size(); ++at) out[0].f[at] = in[0]->f[at] + in[1]->f[at];
  return {};
}
}  // namespace

const OpDef kAddDef = {"add", {"a", "b"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferAdd, addFactors, streamCost, evalAdd, anyColumn};

}  // namespace exo
