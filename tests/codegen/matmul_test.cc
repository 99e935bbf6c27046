// MATMUL: every encoding, every instruction set of this host, all tails, against sums in double of the same numbers; and
// the same bits whatever the number of rows or the division over threads.
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Encoding;
using program::Kernel;

bool quantised(Encoding encoding) { return encoding == program::Q4 || encoding == program::Q8; }

Kernel matmul(Encoding encoding, int64_t n, int64_t k) {
  Kernel kernel;
  kernel.set_op(Kernel::MATMUL);
  kernel.set_weight(encoding);
  kernel.set_input(quantised(encoding) ? program::X8 : program::F32);
  kernel.set_n(n);
  kernel.set_k(k);
  return kernel;
}

struct Operands {
  Memory x;
  std::vector<double> x_meaning;
};
Operands operands(Isa isa, Encoding encoding, const std::vector<float>& x, int64_t m, int64_t k) {
  if (!quantised(encoding)) return {Memory::of(x), {x.begin(), x.end()}};
  Memory x8 = quantiseRows(isa, x, m, k);
  std::vector<double> meaning = meaningOfX8(x8, m, k);
  return {std::move(x8), std::move(meaning)};
}

std::vector<float> multiply(Isa isa, const Kernel& kernel, const Memory& x, const Memory& w, int64_t m, int64_t chunk = 0) {
  Memory out(m * static_cast<int64_t>(kernel.n()) * 4);
  KernelArgs args{.rows = m, .in = {x.data(), w.data()}, .out = {out.data()}};
  runKernel(isa, kernel, args, chunk);
  EXPECT_TRUE(out.guardIntact()) << "wrote behind the output";
  return out.as<float>();
}

std::vector<double> reference(const std::vector<double>& x, const std::vector<float>& w, int64_t m, int64_t n, int64_t k) {
  std::vector<double> out(m * n, 0.0);
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      for (int64_t i = 0; i < k; ++i) out[row * n + column] += x[row * k + i] * w[column * k + i];
    }
  }
  return out;
}

struct Shape {
  int64_t m, n, k;
};

class MatMul : public testing::TestWithParam<std::tuple<Isa, Encoding>> {
 protected:
  void check(Shape s) {
    const auto [isa, encoding] = GetParam();
    SCOPED_TRACE(testing::Message() << "m " << s.m << " n " << s.n << " k " << s.k);
    const PackedWeight w = packWeight(encoding, s.n, s.k, 7);
    const Operands x = operands(isa, encoding, randomFloats(s.m * s.k, 11), s.m, s.k);
    const auto got = multiply(isa, matmul(encoding, s.n, s.k), x.x, w.packed, s.m);
    const auto expected = reference(x.x_meaning, w.meaning, s.m, s.n, s.k);
    // Plain f32: one rounding (6e-8) per element of K in a random walk. Integers are exact inside a block.
    const double bound = quantised(encoding) ? 1e-6 : 1e-6 + 6e-8 * std::sqrt(static_cast<double>(s.k));
    EXPECT_LE(relativeRms(got, expected), bound);
  }
};

TEST_P(MatMul, OneRowAllTails) {
  if (emulator::emulates(std::get<0>(GetParam()))) {  // every shape is a library to link
    for (int64_t n : {1, 17, 130}) {
      for (int64_t k : {1, 31, 65, 320}) check({1, n, k});
    }
    return;
  }
  for (int64_t n : {1, 15, 16, 17, 63, 64, 65, 130}) {
    for (int64_t k : {1, 2, 31, 32, 33, 64, 65, 127, 320}) check({1, n, k});
  }
}
TEST_P(MatMul, ManyRowsAllTails) {
  for (int64_t m : {2, 3, 5, 6, 7, 12, 23, 24, 25, 31}) {
    for (int64_t n : {1, 16, 33, 80}) check({m, n, 100});
  }
  for (int64_t k : {1, 3, 32, 63, 64, 65, 256}) check({25, 40, k});
}
TEST_P(MatMul, LongSums) { check({3, 48, 4096}); }

TEST_P(MatMul, NothingToDo) {
  const auto [isa, encoding] = GetParam();
  Memory none(0);
  EXPECT_TRUE(multiply(isa, matmul(encoding, 0, 64), none, none, 3).empty());
  EXPECT_EQ(workUnits(matmul(encoding, 64, 64), 0), 0);
  // K = 0: an empty sum.
  EXPECT_EQ(multiply(isa, matmul(encoding, 5, 0), none, none, 7), std::vector<float>(35, 0.0f));
}

TEST_P(MatMul, BitsDependOnTheRowAlone) {
  const auto [isa, encoding] = GetParam();
  const int64_t n = 150, k = 200, most = 40;
  const PackedWeight w = packWeight(encoding, n, k, 3);
  const std::vector<float> x = randomFloats(most * k, 5);
  std::vector<float> one_by_one;
  for (int64_t row = 0; row < most; ++row) {
    const Operands one = operands(isa, encoding, {x.begin() + row * k, x.begin() + (row + 1) * k}, 1, k);
    const auto y = multiply(isa, matmul(encoding, n, k), one.x, w.packed, 1);
    one_by_one.insert(one_by_one.end(), y.begin(), y.end());
  }
  for (int64_t m = 1; m <= most; ++m) {
    const Operands first = operands(isa, encoding, {x.begin(), x.begin() + m * k}, m, k);
    const auto y = multiply(isa, matmul(encoding, n, k), first.x, w.packed, m, m % 2 ? 0 : 1);
    ASSERT_EQ(std::memcmp(y.data(), one_by_one.data(), y.size() * 4), 0) << "m " << m;
  }
}

std::string title(const testing::TestParamInfo<std::tuple<Isa, Encoding>>& info) {
  std::string text = std::string(name(std::get<0>(info.param))) + "_" + program::Encoding_Name(std::get<1>(info.param));
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}
INSTANTIATE_TEST_SUITE_P(Host, MatMul,
                         testing::Combine(testing::ValuesIn(testedIsas()),
                                          testing::Values(program::F32, program::BF16, program::F16, program::Q8, program::Q4)),
                         title);

}  // namespace
}  // namespace exo::codegen
