// matmul: y[t, n] = sum_k x[t, k] * w[n, k]. x is f32, or x8 when w is w8 or w4 and kernels have been selected.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferMatMul(const Attrs&, Types in, Types) {
  const bool quantized = in[0].encoding == Encoding::kX8 && isBlocked(in[1].encoding);
  EXO_REQUIRE(in[0].rank() == 2 && (in[0].encoding == Encoding::kF32 || quantized), "matmul", "x is f32[T, K], or x8[T, K] with w8 or w4 weights", in[0]);
  EXO_REQUIRE(in[1].rank() == 2 && isConcrete(in[1]) && in[1].shape[1] == in[0].shape[1], "matmul", "weight is [N, " + toString(in[0].shape[1]) + "]", in[1]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], in[1].shape[0]}}};
}

FactorMap matMulFactors(const Attrs&, Types) { return factors("tk,nk->tn"); }

Cost costMatMul(const Attrs& attrs, Types in, Types out, StepSize step) {
  Cost cost = streamCost(attrs, in.subspan(0, 1), out, step);
  cost.flops = 2.0 * static_cast<double>(elements(out[0], step)) * static_cast<double>(in[1].shape[1].size());
  cost.weight_bytes = static_cast<double>(sizeBytes(in[1]));
  return cost;
}

Status evalMatMul(const Attrs&, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const int64_t k_size = in[0]->columns(), n_size = out[0].columns();
  for (int64_t t = 0; t < in[0]->rows(); ++t) {
    for (int64_t n = 0; n < n_size; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < k_size; ++k) sum += static_cast<double>(in[0]->f[static_cast<size_t>(t * k_size + k)]) * in[1]->f[static_cast<size_t>(n * k_size + k)];
      out[0].f[static_cast<size_t>(t * n_size + n)] = static_cast<float>(sum);
    }
  }
  return {};
}

/// Weights are packed in panels of 16 rows (codegen/layout.h).
int64_t panel(const Attrs&, Types) { return 16; }
}  // namespace

const OpDef kMatMulDef = {"matmul", {"x", "weight"}, kPure | kWholeRows, defaultAttrs<NoAttrs>, inferMatMul, matMulFactors, costMatMul, evalMatMul, panel};

}  // namespace exo
