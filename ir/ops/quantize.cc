// quantize: f32 rows to int8 in blocks of 32 with an f32 scale max|x| / 127 each (x8). Made by select_kernels in front of
// matmuls with w8 or w4 weights. The reference keeps the rounded values as f32.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferQuantize(const Attrs&, Types in, Types) {
  EXO_REQUIRE(in[0].encoding == Encoding::kF32 && (in[0].rank() == 2 || in[0].rank() == 3) && !in[0].shape.back().isSymbol(), "quantize", "x is f32[T, K] or f32[T, k, K]", in[0]);
  return std::vector<Type>{{Encoding::kX8, in[0].shape}};
}

FactorMap quantizeFactors(const Attrs&, Types in) { return in[0].rank() == 3 ? factors("tjk->tjk", "k") : factors("tk->tk", "k"); }

Status evalQuantize(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const int64_t width = in[0]->columns();
  for (int64_t t = 0; t < in[0]->rows(); ++t) {
    for (int64_t begin = 0; begin < width; begin += kQuantBlock) {
      const int64_t end = std::min(begin + kQuantBlock, width);
      float largest = 0;
      for (int64_t k = begin; k < end; ++k) largest = std::max(largest, std::fabs(in[0]->f[static_cast<size_t>(t * width + k)]));
      const float scale = largest / 127, inverse = largest > 0 ? 127 / largest : 0;
      for (int64_t k = begin; k < end; ++k) {
        const size_t at = static_cast<size_t>(t * width + k);
        out[0].f[at] = std::nearbyint(in[0]->f[at] * inverse) * scale;
      }
    }
  }
  return {};
}

/// Rows lie in memory in units of two blocks (codegen/layout.h).
int64_t superblock(const Attrs&, Types) { return 2 * kQuantBlock; }
}  // namespace

const OpDef kQuantizeDef = {"quantize", {"x"}, kPure | kElementwise, defaultAttrs<NoAttrs>, inferQuantize, quantizeFactors, streamCost, evalQuantize, superblock};

}  // namespace exo
