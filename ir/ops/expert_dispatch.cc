// expert_dispatch: sorts the pairs (token, slot) by their expert, stable: pairs order[segments[e] .. segments[e + 1]) go to
// expert e; pair p = t * k + slot. One table serves all projections of a block.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferDispatch(const Attrs& attrs, Types in, Types) {
  const int64_t experts = as<DispatchAttrs>(attrs).experts;
  EXO_REQUIRE(in[0].encoding == Encoding::kI32 && in[0].rank() == 2 && experts > 0, "expert_dispatch", "experts are i32[T, k]", in[0]);
  return std::vector<Type>{in[0], {Encoding::kI32, {experts + 1}}};
}

FactorMap dispatchFactors(const Attrs&, Types) { return factors("tj->tj,s", "tjs"); }

Status evalDispatch(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  size_t next = 0;
  for (int64_t e = 0; e < as<DispatchAttrs>(attrs).experts; ++e) {
    out[1].i[static_cast<size_t>(e)] = static_cast<int32_t>(next);
    for (size_t p = 0; p < in[0]->i.size(); ++p) {
      if (in[0]->i[p] == e) out[0].i[next++] = static_cast<int32_t>(p);
    }
  }
  out[1].i.back() = static_cast<int32_t>(next);
  return {};
}
}  // namespace

const OpDef kExpertDispatchDef = {"expert_dispatch", {"experts"}, kPure, defaultAttrs<DispatchAttrs>, inferDispatch, dispatchFactors, streamCost, evalDispatch};

}  // namespace exo
