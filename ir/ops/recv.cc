// recv: takes a value from a rank of another stage (local graphs). Made by partition, met by a send.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

const OpDef kRecvDef = {"recv", {}, kSource | kCollective, defaultAttrs<RecvAttrs>, declaredType, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
