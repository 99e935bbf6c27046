// One large f32 MATMUL against OpenBLAS, which sums in its own order: a second opinion from an independent implementation.
#include <cblas.h>

#include "kernel_harness.h"

namespace exo::codegen {
namespace {

TEST(OpenBlas, LargeMatMulAgrees) {
  const int64_t m = 130, n = 1000, k = 1500;
  const PackedWeight w = packWeight(program::F32, n, k, 3);
  const std::vector<float> x = randomFloats(m * k, 4);
  std::vector<float> expected(m * n);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), 1.0f, x.data(),
              static_cast<int>(k), w.meaning.data(), static_cast<int>(k), 0.0f, expected.data(), static_cast<int>(n));
  program::Kernel kernel;
  kernel.set_op(program::Kernel::MATMUL);
  kernel.set_n(n);
  kernel.set_k(k);
  for (Isa isa : hostIsas()) {
    Memory in = Memory::of(x), out(m * n * 4);
    KernelArgs args{.rows = m, .in = {in.data(), w.packed.data()}, .out = {out.data()}};
    runKernel(isa, kernel, args, 2);
    EXPECT_LE(relativeRms(out.as<float>(), {expected.begin(), expected.end()}), 3e-6) << name(isa);
  }
}

}  // namespace
}  // namespace exo::codegen
