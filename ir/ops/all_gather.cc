// all_gather: split(dim) → replicated: the columns of all ranks of the stage side by side, in rank order.
// Made by insert_collectives where an op needs the whole of a split value.
#include <numeric>

#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
// In a global graph x already has its full shape; in a local one it has one rank's extent.
Result<std::vector<Type>> inferGather(const Attrs& attrs, Types in, Types) {
  const auto& a = as<GatherAttrs>(attrs);
  EXO_REQUIRE(isActivation(in[0]) && a.dim == 1, "all_gather", "gathers dim 1 of f32[T, width]", in[0]);
  if (std::any_of(a.extents.begin(), a.extents.end(), [](int64_t extent) { return extent < 0; })) return invalid("all_gather: extents are at least 0");
  Type result = in[0];
  result.shape[1] = std::accumulate(a.extents.begin(), a.extents.end(), int64_t{0});
  EXO_REQUIRE(in[0].shape[1].size() <= result.shape[1].size(), "all_gather", "extents sum to at least the width", in[0]);
  return std::vector<Type>{result};
}
}  // namespace

const OpDef kAllGatherDef = {"all_gather", {"x"}, kCollective, defaultAttrs<GatherAttrs>, inferGather, noFactors, wireCost, providedByInterpreter};

}  // namespace exo
