// input: a value the step brings, "tokens" or "positions" (i32[T]) or "rows" (i32[R], the tokens whose logits are asked
// for). Every rank has it: the step descriptor goes to all.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferInput(const Attrs& attrs, Types, Types declared) {
  const std::string& source = as<InputAttrs>(attrs).source;
  if (source != "tokens" && source != "positions" && source != "rows") {
    return invalid("input: source must be \"tokens\", \"positions\" or \"rows\", got \"", source, '"');
  }
  const Type type{Encoding::kI32, {source == "rows" ? R : T}};
  if (!declared.empty()) EXO_REQUIRE(declared[0] == type, "input", source + " is " + toString(type), declared[0]);
  return std::vector<Type>{type};
}
}  // namespace

const OpDef kInputDef = {"input", {}, kSource | kEverywhere, defaultAttrs<InputAttrs>, inferInput, noFactors, noCost, providedByInterpreter};

}  // namespace exo
