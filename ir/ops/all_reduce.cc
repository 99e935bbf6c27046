// all_reduce: partial(sum) → replicated: the sum over the ranks of the stage, in rank order, the same bits on all.
// Made by insert_collectives.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferReduce(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].encoding == Encoding::kF32 && (in[0].rank() == 2 || in[0].rank() == 3), "all_reduce", "x is f32[T, width] or f32[T, k, width]", in[0]);
  return std::vector<Type>{in[0]};
}
}  // namespace

const OpDef kAllReduceDef = {"all_reduce", {"x"}, kCollective, defaultAttrs<NoAttrs>, inferReduce, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
