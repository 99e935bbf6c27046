// send: gives a value to ranks of another stage (local graphs); no result. Made by partition, met by a recv.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferSend(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].rank() <= 3, "send", "x is a value of the step, of at most 3 dimensions", in[0]);
  return std::vector<Type>{};
}
}  // namespace

const OpDef kSendDef = {"send", {"x"}, kCollective, defaultAttrs<SendAttrs>, inferSend, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
