// cache: the KV cache of one layer, [positions, 2 (key, value), KV heads, head_dim]; lives as long as the model.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferCache(const Attrs&, Types, Types declared) {
  if (declared.size() != 1) return invalid("cache: needs a declared type");
  const Type& type = declared[0];
  EXO_REQUIRE(type.rank() == 4 && type.shape[1] == Dim(2) && isConcrete(type), "cache", "is [positions, 2, heads, head_dim]", type);
  EXO_REQUIRE(type.encoding == Encoding::kF32 || type.encoding == Encoding::kF16, "cache", "is f32 or f16", type);
  return std::vector<Type>{type};
}
}  // namespace

const OpDef kCacheDef = {"cache", {}, kSource | kGlobal | kState, defaultAttrs<NoAttrs>, inferCache, noFactors, noCost, providedByInterpreter};

}  // namespace exo
