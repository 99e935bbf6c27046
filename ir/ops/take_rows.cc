// take_rows: y[r, :] = x[rows[r], :]: the tokens whose logits are asked for. Linear: partial sums pass through.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferTake(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "take_rows", "x is f32[T, width]", in[0]);
  EXO_REQUIRE(isVector(in[1], Encoding::kI32, R), "take_rows", "rows are i32[R]", in[1]);
  return std::vector<Type>{{Encoding::kF32, {R, in[0].shape[1]}}};
}

FactorMap takeFactors(const Attrs&, Types) {
  FactorMap map = factors("th,r->rh");
  map.linear = {0};
  return map;
}

Status evalTake(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = static_cast<size_t>(in[0]->columns());
  for (size_t r = 0; r < in[1]->i.size(); ++r) {
    for (size_t h = 0; h < width; ++h) out[0].f[r * width + h] = in[0]->f[static_cast<size_t>(in[1]->i[r]) * width + h];
  }
  return {};
}
}  // namespace

const OpDef kTakeRowsDef = {"take_rows", {"x", "rows"}, kPure, defaultAttrs<NoAttrs>, inferTake, takeFactors, streamCost, evalTake};

}  // namespace exo
