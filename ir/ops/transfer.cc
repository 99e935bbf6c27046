// transfer: hands a replicated value from one pipeline stage to another, in the global graph. Made by
// insert_collectives; partition turns it into send and recv.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

const OpDef kTransferDef = {"transfer", {"x"}, kCollective, defaultAttrs<TransferAttrs>, sameAsFirst, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
