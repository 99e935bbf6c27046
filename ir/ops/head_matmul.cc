// head_matmul: y[t, h, n] = sum_k x[t, h, k] * w[h, n, k]: a matrix of its own for every head. Of the head_dim columns that a
// head of x has, the leading K are read. Multi-head latent attention takes queries into the latent space with one, and
// latent values out of it with another.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferHeadMatMul(const Attrs& attrs, Types in, Types) {
  const auto& a = as<HeadMatMulAttrs>(attrs);
  const bool quantized = in[0].encoding == Encoding::kX8 && isBlocked(in[1].encoding);
  EXO_REQUIRE(in[0].rank() == 2 && (in[0].encoding == Encoding::kF32 || quantized) && !in[0].shape[1].isSymbol() && a.head_dim > 0 && in[0].shape[1].size() % a.head_dim == 0, "head_matmul",
              "x is f32[T, heads * " + std::to_string(a.head_dim) + "], or x8 with w8 or w4 weights", in[0]);
  const int64_t heads = in[0].shape[1].size() / a.head_dim;
  EXO_REQUIRE(in[1].rank() == 3 && isConcrete(in[1]) && in[1].shape[0] == Dim(heads) && in[1].shape[2].size() <= a.head_dim, "head_matmul",
              "weight is [heads = " + std::to_string(heads) + ", N, at most " + std::to_string(a.head_dim) + "]", in[1]);
  EXO_REQUIRE(!isBlocked(in[1].encoding) || a.head_dim % kHeadAlignment == 0, "head_matmul", "w8 and w4 weights have heads of whole pairs of blocks, " + std::to_string(kHeadAlignment) + " columns", in[0]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], heads * in[1].shape[1].size()}}};
}

FactorMap headMatMulFactors(const Attrs&, Types) { return factors("tg,gnk->tg", "nk"); }

Cost costHeadMatMul(const Attrs& attrs, Types in, Types out, StepSize step) {
  Cost cost = streamCost(attrs, in.subspan(0, 1), out, step);
  cost.flops = 2.0 * static_cast<double>(elements(out[0], step)) * static_cast<double>(in[1].shape[2].size());
  cost.weight_bytes = static_cast<double>(sizeBytes(in[1]));
  return cost;
}

Status evalHeadMatMul(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const size_t head_dim = static_cast<size_t>(as<HeadMatMulAttrs>(attrs).head_dim), heads = static_cast<size_t>(in[1]->shape[0]);
  const size_t n_size = static_cast<size_t>(in[1]->shape[1]), k_size = static_cast<size_t>(in[1]->shape[2]), rows = heads == 0 ? 0 : in[0]->f.size() / (heads * head_dim);
  for (size_t at = 0; at < rows * heads; ++at) {
    const float* w = in[1]->f.data() + at % heads * n_size * k_size;
    for (size_t n = 0; n < n_size; ++n) {
      double sum = 0;
      for (size_t k = 0; k < k_size; ++k) sum += static_cast<double>(in[0]->f[at * head_dim + k]) * w[n * k_size + k];
      out[0].f[at * n_size + n] = static_cast<float>(sum);
    }
  }
  return {};
}
}  // namespace

const OpDef kHeadMatMulDef = {"head_matmul", {"x", "weight"}, kPure, defaultAttrs<HeadMatMulAttrs>, inferHeadMatMul, headMatMulFactors, costHeadMatMul, evalHeadMatMul};

}  // namespace exo
