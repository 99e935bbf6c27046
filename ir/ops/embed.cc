// embed: y[t, :] = table[tokens[t] - begin, :]; a row of zeros where the id is not in the (local) table, so that a table
// split by vocabulary leaves a partial sum.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferEmbed(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].encoding == Encoding::kI32 && in[0].rank() == 1, "embed", "tokens are i32[T]", in[0]);
  EXO_REQUIRE(in[1].rank() == 2 && isConcrete(in[1]), "embed", "table is [vocabulary, width]", in[1]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], in[1].shape[1]}}};
}

FactorMap embedFactors(const Attrs&, Types) { return factors("t,vk->tk", "k"); }

Cost costEmbed(const Attrs&, Types, Types out, StepSize step) {
  Cost cost;
  cost.activation_bytes = 2.0 * static_cast<double>(sizeBytes(out[0], step));
  return cost;
}

Status evalEmbed(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const Tensor &tokens = *in[0], &table = *in[1];
  const auto& a = as<EmbedAttrs>(attrs);
  const int64_t width = table.columns();
  for (size_t t = 0; t < tokens.i.size(); ++t) {
    const int64_t row = tokens.i[t] - a.begin;
    if (row < 0 || row >= table.shape[0]) continue;
    for (int64_t k = 0; k < width; ++k) out[0].f[t * static_cast<size_t>(width) + static_cast<size_t>(k)] = static_cast<float>(table.f[static_cast<size_t>(row * width + k)] * a.scale);
  }
  return {};
}
}  // namespace

const OpDef kEmbedDef = {"embed", {"tokens", "table"}, kPure | kElementwise, defaultAttrs<EmbedAttrs>, inferEmbed, embedFactors, costEmbed, evalEmbed};

}  // namespace exo
