// rope_table: rotation frequencies (radians per position), one per pair; made by the frontend, read by rope.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferTable(const Attrs& attrs, Types, Types declared) {
  const Type type{Encoding::kF32, {static_cast<int64_t>(as<RopeTableAttrs>(attrs).frequencies.size())}};
  if (!declared.empty()) EXO_REQUIRE(declared[0] == type, "rope_table", "is " + toString(type), declared[0]);
  return std::vector<Type>{type};
}
}  // namespace

const OpDef kRopeTableDef = {"rope_table", {}, kSource | kEverywhere, defaultAttrs<RopeTableAttrs>, inferTable, noFactors, noCost, providedByInterpreter};

}  // namespace exo
