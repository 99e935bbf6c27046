// kv_append: writes the keys and values of this step's tokens into the cache at their positions; its result is the
// cache after that, which attention reads. In the interpreter, sequence s has rows [s * max_context, ...) of the cache.
// A cache of keys only takes the key twice: its values are in there.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferAppend(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].rank() == 4 && isConcrete(in[0]), "kv_append", "cache is [positions, 2, heads, head_dim]", in[0]);
  const int64_t width = in[0].shape[2].size() * in[0].shape[3].size();
  EXO_REQUIRE(isActivation(in[1]) && in[1].shape[1] == Dim(width), "kv_append", "key is f32[T, " + std::to_string(width) + "]", in[1]);
  EXO_REQUIRE(in[2] == in[1], "kv_append", "value is like key, " + toString(in[1]), in[2]);
  EXO_REQUIRE(isVector(in[3], Encoding::kI32, in[1].shape[0]), "kv_append", "positions are i32[T]", in[3]);
  return std::vector<Type>{in[0]};
}

/// Keys of a latent cache have no heads to split: every rank holds them.
FactorMap appendFactors(const Attrs&, Types in) {
  if (isLatentCache(in[0])) return factors("czgd,th,th,t->czgd", "czgdh");
  return factors("czgd,tg,tg,t->czgd", "czd");
}

Cost costAppend(const Attrs&, Types in, Types, StepSize step) {
  Cost cost;
  cost.activation_bytes = 4.0 * static_cast<double>(sizeBytes(in[1], step));
  return cost;
}

Status evalAppend(const Attrs&, const EvalStep& step, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t width = static_cast<size_t>(in[1]->columns());
  Tensor& cache = out[0];  // the interpreter passes the cache itself
  const size_t parts = static_cast<size_t>(cache.shape[1]);
  for (size_t t = 0; t < in[3]->i.size(); ++t) {
    const size_t slot = static_cast<size_t>(step.sequence[t] * step.max_context + in[3]->i[t]) * parts * width;
    if (cache.f.size() < slot + parts * width) cache.f.resize(slot + parts * width);
    for (size_t part = 0; part < parts; ++part) {
      for (size_t d = 0; d < width; ++d) cache.f[slot + part * width + d] = in[1 + part]->f[t * width + d];
    }
  }
  return {};
}

int64_t head(const Attrs&, Types in) { return in[0].shape[3].size(); }
}  // namespace

const OpDef kKvAppendDef = {"kv_append", {"cache", "key", "value", "positions"}, kState, defaultAttrs<NoAttrs>, inferAppend, appendFactors, costAppend, evalAppend, head};

}  // namespace exo
