// transfer: hands a replicated value from one pipeline stage to another, in the global graph. Made by
// insert_collectives; partition turns it into send and recv.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferTransfer(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].rank() <= 3, "transfer", "x is a value of the step, of at most 3 dimensions", in[0]);
  return std::vector<Type>{in[0]};
}
}  // namespace

const OpDef kTransferDef = {"transfer", {"x"}, kCollective, defaultAttrs<TransferAttrs>, inferTransfer, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
