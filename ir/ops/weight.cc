// weight: a tensor of the checkpoint as it will be stored, or the piece of it that one rank owns.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferWeight(const Attrs& attrs, Types, Types declared) {
  const auto& weight = as<WeightAttrs>(attrs);
  if (declared.size() != 1) return invalid("weight: needs a declared type");
  const Type& type = declared[0];
  EXO_REQUIRE(type.rank() >= 1 && type.rank() <= 3, "weight", "has 1 to 3 dimensions", type);
  const size_t lead = weight.stack > 0 ? 1 : 0;  // a stack of matrices or of vectors
  EXO_REQUIRE(type.rank() - lead == 1 || type.rank() - lead == 2, "weight", "has 1 or 2 dimensions, and one more where it is a stack", type);
  if (weight.begin.size() != type.rank() || weight.shape.size() != type.rank() - lead) {
    return invalid("weight: `begin` needs ", type.rank(), " numbers and `shape` ", type.rank() - lead);
  }
  for (size_t d = 0; d < type.rank(); ++d) {
    EXO_REQUIRE(!type.shape[d].isSymbol(), "weight", "dimensions are numbers", type);
    const int64_t whole = d < lead ? weight.stack : weight.shape[d - lead];
    EXO_REQUIRE(weight.begin[d] >= 0 && weight.begin[d] + type.shape[d].size() <= whole, "weight",
                "dimension " + std::to_string(d) + " lies within " + std::to_string(whole), type);
  }
  return std::vector<Type>{type};
}
}  // namespace

const OpDef kWeightDef = {"weight", {}, kSource | kGlobal, defaultAttrs<WeightAttrs>, inferWeight, noFactors, noCost, providedByInterpreter};

}  // namespace exo
