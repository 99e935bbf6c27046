// all_reduce: partial(sum) → replicated: the sum over the ranks of the stage, in rank order, the same bits on all.
// Made by insert_collectives.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

const OpDef kAllReduceDef = {"all_reduce", {"x"}, kCollective, defaultAttrs<NoAttrs>, sameAsFirst, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
