// Row kernels against double: norms, sums, SwiGLU, rope, quantisation, row copies, and the plain C++ ones.
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr int64_t kTails[] = {1, 2, 15, 16, 17, 31, 48, 63, 64, 65, 100, 128, 200, 2048};

Kernel kernelOf(Kernel::Op op, int64_t n) {
  Kernel kernel;
  kernel.set_op(op);
  kernel.set_n(n);
  return kernel;
}

class RowKernels : public testing::TestWithParam<Isa> {
 protected:
  std::vector<float> run(const Kernel& kernel, int64_t rows, const std::vector<std::vector<float>>& in, int64_t out_count,
                         const StepView* step = nullptr) {
    std::vector<Memory> memory;
    for (const auto& values : in) memory.push_back(Memory::of(values));
    Memory out(out_count * 4);
    KernelArgs args{.rows = rows, .out = {out.data()}, .step = step};
    for (size_t i = 0; i < memory.size(); ++i) args.in[i] = memory[i].data();
    runKernel(GetParam(), kernel, args, 2);
    EXPECT_TRUE(out.guardIntact()) << Kernel::Op_Name(kernel.op());
    return out.as<float>();
  }
};

std::vector<double> normalised(const std::vector<float>& x, const std::vector<float>& weight, double epsilon) {
  std::vector<double> out;
  const size_t n = weight.size();
  for (size_t row = 0; row < x.size() / n; ++row) {
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += static_cast<double>(x[row * n + i]) * x[row * n + i];
    for (size_t i = 0; i < n; ++i) out.push_back(x[row * n + i] / std::sqrt(squares / static_cast<double>(n) + epsilon) * weight[i]);
  }
  return out;
}

TEST_P(RowKernels, RmsNorm) {
  for (int64_t n : kTails) {
    Kernel kernel = kernelOf(Kernel::RMS_NORM, n);
    kernel.set_epsilon(1e-5f);
    const auto x = randomFloats(3 * n, 1), weight = randomFloats(n, 2);
    EXPECT_LE(relativeRms(run(kernel, 3, {x, weight}, 3 * n), normalised(x, weight, 1e-5)), 3e-7) << "n " << n;
  }
}

TEST_P(RowKernels, HeadNorm) {
  for (int64_t dim : {1, 8, 20, 48, 64, 127, 128, 256}) {
    Kernel kernel;
    kernel.set_op(Kernel::HEAD_NORM);
    kernel.set_heads(3);
    kernel.set_head_dim(dim);
    kernel.set_epsilon(1e-6f);
    const auto x = randomFloats(5 * 3 * dim, 1), weight = randomFloats(dim, 2);
    EXPECT_LE(relativeRms(run(kernel, 5, {x, weight}, 15 * dim), normalised(x, weight, 1e-6)), 3e-7) << "dim " << dim;
  }
}

TEST_P(RowKernels, NormsAddTheirOffsetToTheWeight) {
  const int64_t n = 100;
  Kernel kernel = kernelOf(Kernel::RMS_NORM, n);
  kernel.set_epsilon(1e-5f);
  kernel.set_weight_offset(1.0f);
  const auto x = randomFloats(3 * n, 1), weight = randomFloats(n, 2);
  std::vector<float> shifted = weight;
  for (float& w : shifted) w += 1;
  EXPECT_LE(relativeRms(run(kernel, 3, {x, weight}, 3 * n), normalised(x, shifted, 1e-5)), 3e-7);
  kernel.set_op(Kernel::HEAD_NORM);
  kernel.set_heads(3);
  kernel.set_head_dim(n);
  EXPECT_LE(relativeRms(run(kernel, 1, {x, weight}, 3 * n), normalised(x, shifted, 1e-5)), 3e-7);
}

/// The left part of a row, with the sum of squares of all of it, is normed as in the whole row.
TEST_P(RowKernels, NormBySumOfSquares) {
  for (int64_t n : kTails) {
    const int64_t whole = n + 5;
    const auto x = randomFloats(3 * whole, 1), weight = randomFloats(whole, 2);
    const auto wanted = normalised(x, weight, 1e-5);
    std::vector<float> part;
    std::vector<double> wanted_part;
    for (int64_t row = 0; row < 3; ++row) {
      part.insert(part.end(), x.begin() + row * whole, x.begin() + row * whole + n);
      wanted_part.insert(wanted_part.end(), wanted.begin() + row * whole, wanted.begin() + row * whole + n);
    }
    Kernel kernel = kernelOf(Kernel::NORM_BY_SUM, n);
    kernel.set_k(whole);
    kernel.set_epsilon(1e-5f);
    const auto sums = run(kernelOf(Kernel::SQUARE_SUM, whole), 3, {x}, 3);
    EXPECT_LE(relativeRms(run(kernel, 3, {part, sums, weight}, 3 * n), wanted_part), 3e-7) << "n " << n;
  }
  EXPECT_EQ(run(kernelOf(Kernel::SQUARE_SUM, 0), 2, {{}}, 2), (std::vector<float>{0, 0})) << "a rank without a share";
}

TEST_P(RowKernels, GeluTanhSigmoidMulAndSoftCap) {
  for (int64_t n : kTails) {
    const auto x = randomFloats(3 * n, 1, 5.0f), up = randomFloats(3 * n, 2), gate = randomFloats(3, 3);
    Kernel gelu = kernelOf(Kernel::SILU_MUL, n), cap = kernelOf(Kernel::SOFT_CAP, n);
    gelu.set_gate(Kernel::GELU_TANH);
    cap.set_soft_cap(2.5f);
    const auto got_gelu = run(gelu, 3, {x, up}, 3 * n), got_share = run(kernelOf(Kernel::SIGMOID_MUL, n), 3, {x, gate}, 3 * n);
    const auto got_cap = run(cap, 3, {x}, 3 * n);
    for (int64_t i = 0; i < 3 * n; ++i) {
      const double v = x[i], u = std::sqrt(2 / std::acos(-1.0)) * (v + 0.044715 * v * v * v);
      EXPECT_NEAR(got_gelu[i], v / 2 * (1 + std::tanh(u)) * up[i], 2e-6 * std::max(1.0, std::abs(v * up[i]))) << "n " << n << " at " << i;
      EXPECT_NEAR(got_share[i], v / (1 + std::exp(-static_cast<double>(gate[i / n]))), 1e-6 * std::max(1.0, std::abs(v)));
      EXPECT_NEAR(got_cap[i], 2.5 * std::tanh(v / 2.5), 2e-6);
    }
  }
}

TEST_P(RowKernels, ClampedSwiGlu) {
  for (int64_t n : kTails) {
    const auto gate = randomFloats(3 * n, 1, 5.0f), up = randomFloats(3 * n, 2, 5.0f);
    Kernel kernel = kernelOf(Kernel::SILU_MUL, n);
    kernel.set_gate(Kernel::CLAMPED_SWIGLU);
    kernel.set_gate_limit(2.0f);
    const auto got = run(kernel, 3, {gate, up}, 3 * n);
    for (int64_t i = 0; i < 3 * n; ++i) {
      const double g = std::min(2.0, static_cast<double>(gate[i])), u = std::clamp(static_cast<double>(up[i]), -2.0, 2.0);
      EXPECT_NEAR(got[i], g / (1 + std::exp(-1.702 * g)) * (u + 1), 3e-6) << "n " << n << " at " << i;
    }
  }
}

TEST_P(RowKernels, AddAndBias) {
  for (int64_t n : kTails) {
    const auto a = randomFloats(3 * n, 1), c = randomFloats(3 * n, 2);
    const std::vector<float> bias(c.begin(), c.begin() + n);
    std::vector<float> sum(3 * n), biased(3 * n);
    for (int64_t i = 0; i < 3 * n; ++i) sum[i] = a[i] + c[i], biased[i] = a[i] + bias[i % n];
    EXPECT_EQ(run(kernelOf(Kernel::ADD, n), 3, {a, c}, 3 * n), sum);
    EXPECT_EQ(run(kernelOf(Kernel::BIAS_ADD, n), 3, {a, bias}, 3 * n), biased);
  }
}

TEST_P(RowKernels, SiluMul) {
  for (int64_t n : kTails) {
    const auto gate = randomFloats(3 * n, 1, 5.0f), up = randomFloats(3 * n, 2);
    const auto got = run(kernelOf(Kernel::SILU_MUL, n), 3, {gate, up}, 3 * n);
    for (int64_t i = 0; i < 3 * n; ++i) {
      const double expected = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      ASSERT_NEAR(got[i], expected, 1e-6 * std::abs(expected) + 1e-30) << "gate " << gate[i];
    }
  }
}

TEST_P(RowKernels, SiluOfExtremes) {
  const auto got = run(kernelOf(Kernel::SILU_MUL, 6), 1, {{-1e30f, -200, -88, 88, 200, 1e30f}, {1, 1, 1, 1, 1, 1}}, 6);
  EXPECT_NEAR(got[0], 0, 1e-7);
  EXPECT_NEAR(got[1], 0, 1e-30);
  EXPECT_NEAR(got[2], 0, 1e-30);
  EXPECT_EQ(got[3], 88.0f);
  EXPECT_EQ(got[4], 200.0f);
  EXPECT_EQ(got[5], 1e30f);
}

Kernel rope(int64_t heads, int64_t dim, int64_t rotary, double base, float scale) {
  Kernel kernel;
  kernel.set_op(Kernel::ROPE);
  kernel.set_heads(heads);
  kernel.set_head_dim(dim);
  kernel.set_rotary_dim(rotary);
  kernel.set_scale(scale);
  for (int64_t i = 0; i < rotary / 2; ++i) kernel.add_rope_frequencies(static_cast<float>(std::pow(base, -2.0 * i / rotary)));
  return kernel;
}

TEST_P(RowKernels, Rope) {
  const std::vector<int32_t> positions = {0, 1, 2, 1000, 65537, 1000000, 2000000000};
  const StepView step{.tokens = 7, .positions = positions.data()};
  for (auto [heads, dim, rotary] : {std::tuple{3, 128, 128}, {1, 48, 48}, {2, 20, 20}, {2, 64, 32}, {1, 8, 6}, {1, 5, 0}, {2, 2, 2}}) {
    const Kernel kernel = rope(heads, dim, rotary, 500000.0, 1.25f);
    const auto x = randomFloats(7 * heads * dim, 4);
    const auto got = run(kernel, 7, {x}, 7 * heads * dim, &step);
    for (int64_t at = 0; at < 7 * heads * dim; ++at) {
      const int64_t i = at % dim, half = rotary / 2;
      double expected = x[at];
      if (i < rotary) {
        const double angle = static_cast<double>(positions[at / (heads * dim)]) * kernel.rope_frequencies(static_cast<int>(i % half));
        expected = 1.25 * (i < half ? x[at] * std::cos(angle) - x[at + half] * std::sin(angle) : x[at] * std::cos(angle) + x[at - half] * std::sin(angle));
      }
      ASSERT_NEAR(got[at], expected, 4e-6) << "dim " << dim << " position " << positions[at / (heads * dim)] << " element " << i;
    }
  }
}

TEST_P(RowKernels, InterleavedRopeFromAnyElement) {
  const std::vector<int32_t> positions = {0, 1, 77, 100000};
  const StepView step{.tokens = 4, .positions = positions.data()};
  for (auto [heads, dim, rotary, begin] : {std::tuple{3, 96, 64, 32}, {1, 64, 64, 0}, {2, 21, 6, 15}, {2, 50, 34, 3}, {1, 3, 2, 1}}) {
    for (const bool interleaved : {true, false}) {
      Kernel kernel = rope(heads, dim, rotary, 10000.0, 1.25f);
      kernel.set_rotary_begin(begin);
      kernel.set_interleaved(interleaved);
      const auto x = randomFloats(4 * heads * dim, 4);
      const auto got = run(kernel, 4, {x}, 4 * heads * dim, &step);
      std::vector<double> expected(x.begin(), x.end());
      for (int64_t head = 0; head < 4 * heads; ++head) {
        for (int64_t pair = 0; pair < rotary / 2; ++pair) {
          const int64_t low = head * dim + begin + (interleaved ? 2 * pair : pair), high = low + (interleaved ? 1 : rotary / 2);
          const double angle = static_cast<double>(positions[head / heads]) * kernel.rope_frequencies(static_cast<int>(pair));
          expected[low] = 1.25 * (x[low] * std::cos(angle) - x[high] * std::sin(angle));
          expected[high] = 1.25 * (x[high] * std::cos(angle) + x[low] * std::sin(angle));
        }
      }
      for (size_t at = 0; at < expected.size(); ++at) ASSERT_NEAR(got[at], expected[at], 4e-6) << "dim " << dim << (interleaved ? " interleaved" : "") << " element " << at;
    }
  }
}

TEST_P(RowKernels, HeadConcatTakesTheTail) {
  for (auto [heads, first, second, tail] : {std::tuple{3, 20, 7, 5}, {1, 64, 16, 16}, {5, 1, 3, 0}, {2, 33, 48, 17}}) {
    Kernel kernel = kernelOf(Kernel::HEAD_CONCAT, heads * (first + tail));
    kernel.set_heads(heads);
    kernel.set_k(first);
    kernel.set_head_dim(second);
    const auto a = randomFloats(2 * heads * first, 5), b = randomFloats(2 * heads * second, 6);
    std::vector<float> expected;
    for (int64_t head = 0; head < 2 * heads; ++head) {
      expected.insert(expected.end(), a.begin() + head * first, a.begin() + (head + 1) * first);
      expected.insert(expected.end(), b.begin() + (head + 1) * second - tail, b.begin() + (head + 1) * second);
    }
    EXPECT_EQ(run(kernel, 2, {a, b}, 2 * heads * (first + tail)), expected) << heads << " heads of " << first;
  }
}

TEST_P(RowKernels, RopeTableError) {
  // Rotating (1, 0) gives (cos, sin) themselves.
  const std::vector<int32_t> positions = {0, 1, 7, 100, 4095};
  const StepView step{.tokens = 5, .positions = positions.data()};
  const Kernel kernel = rope(1, 128, 128, 10000.0, 1.0f);
  std::vector<float> x(5 * 128, 0.0f);
  for (int64_t row = 0; row < 5; ++row) std::fill_n(x.begin() + row * 128, 64, 1.0f);
  const auto got = run(kernel, 5, {x}, 5 * 128, &step);
  for (int64_t at = 0; at < 5 * 128; ++at) {
    const double angle = static_cast<double>(positions[at / 128]) * kernel.rope_frequencies(static_cast<int>(at % 64));
    ASSERT_NEAR(got[at], at % 128 < 64 ? std::cos(angle) : std::sin(angle), 2e-7);
  }
}

TEST_P(RowKernels, RopeInPlace) {
  const std::vector<int32_t> positions = {3, 9};
  const StepView step{.tokens = 2, .positions = positions.data()};
  const Kernel kernel = rope(2, 40, 24, 10000.0, 1.0f);
  const auto x = randomFloats(2 * 80, 4);
  Memory in_place = Memory::of(x);
  KernelArgs args{.rows = 2, .in = {in_place.data()}, .out = {in_place.data()}, .step = &step};
  runKernel(GetParam(), kernel, args);
  EXPECT_EQ(in_place.as<float>(), run(kernel, 2, {x}, 160, &step));
}

TEST_P(RowKernels, QuantizeWithinHalfAStep) {
  for (int64_t k : {1, 5, 31, 32, 33, 64, 80, 100, 128, 2048}) {
    auto x = randomFloats(3 * k, 8, 10.0f);
    std::fill_n(x.begin(), std::min<int64_t>(k, 32), 0.0f);  // a block of zeros
    const Memory x8 = quantiseRows(GetParam(), x, 3, k);
    const auto meaning = meaningOfX8(x8, 3, k);
    const int64_t row_bytes = activationRowBytes(program::X8, k);
    for (int64_t row = 0; row < 3; ++row) {
      for (int64_t block = 0; block * 32 < k; ++block) {
        const unsigned char* start = x8.data() + row * row_bytes + block / 2 * kX8SuperblockBytes;
        float peak = 0;
        int32_t sum = 0, compensation;
        for (int64_t i = block * 32; i < std::min(k, block * 32 + 32); ++i) peak = std::max(peak, std::fabs(x[row * k + i]));
        for (int64_t i = 0; i < 32; ++i) sum += static_cast<int8_t>(start[block % 2 * 32 + i]);
        for (int64_t i = block * 32; i < std::min(k, block * 32 + 32); ++i) {
          ASSERT_NEAR(meaning[row * k + i], x[row * k + i], peak / 254 * 1.0001) << "k " << k << " element " << i;
        }
        std::memcpy(&compensation, start + kX8Compensations + block % 2 * 4, 4);
        ASSERT_EQ(compensation, -8 * sum);
      }
    }
  }
}

TEST_P(RowKernels, TakeRowsAndGather) {
  const int64_t n = 37;
  const auto x = randomFloats(5 * n, 1);
  Memory in = Memory::of(x), rows = Memory::of(std::vector<int32_t>{4, 0, 4}), out(3 * n * 4);
  KernelArgs args{.rows = 3, .in = {in.data(), rows.data()}, .out = {out.data()}};
  runKernel(GetParam(), kernelOf(Kernel::TAKE_ROWS, n), args);
  const auto got = out.as<float>();
  for (int64_t i = 0; i < 3 * n; ++i) ASSERT_EQ(got[i], x[(i / n == 1 ? 0 : 4) * n + i % n]);
  EXPECT_TRUE(out.guardIntact());

  Kernel gather = kernelOf(Kernel::EXPERT_GATHER, n);
  gather.set_top_k(2);
  const auto gathered = run(gather, 6, {x}, 6 * n);
  for (int64_t i = 0; i < 6 * n; ++i) ASSERT_EQ(gathered[i], x[i / n / 2 * n + i % n]);
}

TEST_P(RowKernels, Embed) {
  for (auto encoding : {program::F32, program::BF16, program::F16, program::Q8, program::Q4}) {
    const int64_t n = 21, k = 70;
    const PackedWeight table = packWeight(encoding, n, k, 5);
    Kernel kernel = kernelOf(Kernel::EMBED, n);
    kernel.set_weight(encoding);
    kernel.set_k(k);
    kernel.set_index_offset(100);
    Memory tokens = Memory::of(std::vector<int32_t>{100, 120, 99, 121, -5, 116}), out(6 * k * 4);
    KernelArgs args{.rows = 6, .in = {tokens.data(), table.packed.data()}, .out = {out.data()}};
    runKernel(GetParam(), kernel, args, 4);
    const auto got = out.as<float>();
    const int64_t expected[] = {0, 20, -1, -1, -1, 16};
    for (int64_t i = 0; i < 6 * k; ++i) {
      const int64_t row = expected[i / k];
      ASSERT_EQ(got[i], row < 0 ? 0.0f : table.meaning[row * k + i % k]) << program::Encoding_Name(encoding) << " " << i;
    }
    EXPECT_TRUE(out.guardIntact());
  }
}

INSTANTIATE_TEST_SUITE_P(Host, RowKernels, testing::ValuesIn(testedIsas()), [](const auto& info) {
  std::string text = name(info.param);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
});

}  // namespace
}  // namespace exo::codegen
