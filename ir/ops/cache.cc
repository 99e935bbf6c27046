// cache: the KV cache of one layer, [positions, 2 (key, value), KV heads, head_dim]; lives as long as the model. Of latent
// attention (DeepSeek-V2: 2024) it is [positions, 1, 1, key dim]: values are a part of the keys, and there is one head.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferCache(const Attrs&, Types, Types declared) {
  if (declared.size() != 1) return invalid("cache: needs a declared type");
  const Type& type = declared[0];
  const bool is_latent = type.rank() == 4 && type.shape[1] == Dim(1) && type.shape[2] == Dim(1);
  EXO_REQUIRE(type.rank() == 4 && (type.shape[1] == Dim(2) || is_latent) && isConcrete(type), "cache", "is [positions, 2, heads, head_dim], or [positions, 1, 1, head_dim] of keys only", type);
  EXO_REQUIRE(type.encoding == Encoding::kF32 || type.encoding == Encoding::kF16, "cache", "is f32 or f16", type);
  return std::vector<Type>{type};
}
}  // namespace

const OpDef kCacheDef = {"cache", {}, kSource | kGlobal | kState, defaultAttrs<NoAttrs>, inferCache, noFactors, noCost, providedByInterpreter};

}  // namespace exo
