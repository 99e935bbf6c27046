// send: gives a value to ranks of another stage (local graphs); no result. Made by partition, met by a recv.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferSend(const Attrs&, Types, Types) { return std::vector<Type>{}; }
}  // namespace

const OpDef kSendDef = {"send", {"x"}, kCollective, defaultAttrs<SendAttrs>, inferSend, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
