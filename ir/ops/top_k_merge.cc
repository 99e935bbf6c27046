// top_k_merge: partial(top_k) → replicated: the k best of all ranks' candidates; ties: smaller id first.
// Made by insert_collectives behind a top_k of logits that are split by vocabulary.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferMerge(const Attrs&, Types in, Types) {
  EXO_REQUIRE(isActivation(in[0]), "top_k_merge", "values are f32[R, k]", in[0]);
  EXO_REQUIRE((in[1] == Type{Encoding::kI32, in[0].shape}), "top_k_merge", "ids are i32 like the values", in[1]);
  return std::vector<Type>{in[0], in[1]};
}
}  // namespace

const OpDef kTopKMergeDef = {"top_k_merge", {"values", "ids"}, kCollective, defaultAttrs<NoAttrs>, inferMerge, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
