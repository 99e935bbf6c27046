// TOP_K and the mixture-of-experts kernels, each alone and as the layer that kernels.md describes.
#include <numeric>

#include "codegen/spec.h"
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Encoding;
using program::Kernel;

class Experts : public testing::TestWithParam<std::tuple<Isa, Encoding>> {
 protected:
  Isa isa() const { return std::get<0>(GetParam()); }
  Encoding encoding() const { return std::get<1>(GetParam()); }
};

Kernel topK(int64_t n, int64_t top_k, int64_t offset) {
  Kernel kernel;
  kernel.set_op(Kernel::TOP_K);
  kernel.set_n(n);
  kernel.set_top_k(top_k);
  kernel.set_index_offset(offset);
  return kernel;
}

struct Candidates {
  std::vector<float> values;
  std::vector<int32_t> ids;
};
Candidates choose(Isa isa, const Kernel& kernel, const std::vector<float>& logits, int64_t rows) {
  const int64_t count = rows * static_cast<int64_t>(kernel.top_k());
  Memory in = Memory::of(logits), values(count * 4), ids(count * 4);
  KernelArgs args{.rows = rows, .in = {in.data()}, .out = {values.data(), ids.data()}};
  runKernel(isa, kernel, args, 1);
  EXPECT_TRUE(values.guardIntact() && ids.guardIntact());
  return {values.as<float>(), ids.as<int32_t>()};
}

TEST(TopK, DescendingAndTiesBySmallerId) {
  const Candidates got = choose(Isa::kGeneric, topK(6, 4, 1000), {1, 5, 3, 5, -2, 3}, 1);
  EXPECT_EQ(got.values, (std::vector<float>{5, 5, 3, 3}));
  EXPECT_EQ(got.ids, (std::vector<int32_t>{1001, 1003, 1002, 1005}));
}

TEST(TopK, FewerColumnsThanAsked) {
  const float none = -std::numeric_limits<float>::infinity();
  const Candidates got = choose(Isa::kGeneric, topK(2, 4, 0), {1, 2, 9, 8}, 2);
  EXPECT_EQ(got.values, (std::vector<float>{2, 1, none, none, 9, 8, none, none}));
  EXPECT_EQ(got.ids, (std::vector<int32_t>{1, 0, -1, -1, 0, 1, -1, -1}));
}

TEST(TopK, NotANumberIsWorst) {
  const Candidates got = choose(Isa::kGeneric, topK(3, 2, 0), {std::nanf(""), -7, -8}, 1);
  EXPECT_EQ(got.ids, (std::vector<int32_t>{1, 2}));
}

TEST(TopK, EqualsSorting) {
  const int64_t n = 50000;
  auto logits = randomFloats(2 * n, 3);
  for (float& value : logits) value = std::round(value * 50) / 50;  // many ties
  const Candidates got = choose(Isa::kGeneric, topK(n, 64, 0), logits, 2);
  for (int64_t row = 0; row < 2; ++row) {
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[row * n + a] > logits[row * n + b]; });
    for (int64_t i = 0; i < 64; ++i) ASSERT_EQ(got.ids[row * 64 + i], order[i]) << "place " << i;
  }
}

Kernel router(int64_t experts, int64_t top_k, bool normalize, float factor) {
  Kernel kernel;
  kernel.set_op(Kernel::ROUTER_TOP_K);
  kernel.set_experts(experts);
  kernel.set_top_k(top_k);
  kernel.set_normalize(normalize);
  kernel.set_factor(factor);
  return kernel;
}

TEST(Router, SharesOfTheChosen) {
  // softmax of (0, ln 2, ln 4, 0) = (1, 2, 4, 1) / 8
  const std::vector<float> logits = {0, std::log(2.0f), std::log(4.0f), 0};
  const Candidates plain = choose(Isa::kGeneric, router(4, 3, false, 0), logits, 1);
  EXPECT_EQ(plain.ids, (std::vector<int32_t>{2, 1, 0}));
  EXPECT_NEAR(plain.values[0], 0.5, 1e-6);
  EXPECT_NEAR(plain.values[2], 0.125, 1e-6);
  const Candidates normal = choose(Isa::kGeneric, router(4, 3, true, 2.5f), logits, 1);
  EXPECT_NEAR(normal.values[0], 2.5 * 4 / 7, 1e-6);
  EXPECT_NEAR(normal.values[1], 2.5 * 2 / 7, 1e-6);
}

TEST(Router, SigmoidScoresBiasAndGroups) {
  // sigmoids 1/2, 3/4, 2/3, 1/4; with the bias 0.5, 0.75, 0.667, 1.25
  const std::vector<float> logits = {0, std::log(3.0f), std::log(2.0f), -std::log(3.0f)};
  Kernel kernel = router(4, 2, true, 2);
  kernel.set_scoring(Kernel::SIGMOID);
  kernel.set_bias(true);
  Memory in = Memory::of(logits), bias = Memory::of(std::vector<float>{0, 0, 0, 1}), weights(8), ids(8);
  KernelArgs args{.rows = 1, .in = {in.data(), bias.data()}, .out = {weights.data(), ids.data()}};
  runKernel(Isa::kGeneric, kernel, args);
  EXPECT_EQ(ids.as<int32_t>(), (std::vector<int32_t>{3, 1}));
  EXPECT_NEAR(weights.as<float>()[0], 2 * 0.25 / (0.25 + 0.75), 1e-6);
  kernel.set_groups(2);  // (0.5 0.75) (0.667 1.25): the second
  kernel.set_top_groups(1);
  runKernel(Isa::kGeneric, kernel, args);
  EXPECT_EQ(ids.as<int32_t>(), (std::vector<int32_t>{3, 2}));
  EXPECT_NEAR(weights.as<float>()[1], 2 * (2.0 / 3) / (0.25 + 2.0 / 3), 1e-6);
  kernel.set_top_groups(0);
  EXPECT_FALSE(checkKernel(kernel).ok());
}

struct Dispatch {
  Memory order{0}, segments{0};
};
Dispatch dispatch(Isa isa, const std::vector<int32_t>& ids, int64_t tokens, int64_t top_k, int64_t experts) {
  Kernel kernel = router(experts, top_k, false, 0);
  kernel.set_op(Kernel::EXPERT_DISPATCH);
  Memory in = Memory::of(ids);
  Dispatch out{Memory(tokens * top_k * 4), Memory((experts + 1) * 4)};
  KernelArgs args{.rows = tokens, .in = {in.data()}, .out = {out.order.data(), out.segments.data()}};
  runKernel(isa, kernel, args);
  EXPECT_TRUE(out.order.guardIntact() && out.segments.guardIntact());
  return out;
}

TEST(Dispatch, StableByExpert) {
  const Dispatch got = dispatch(Isa::kGeneric, {2, 0, 0, 3, 2, 0}, 3, 2, 5);
  EXPECT_EQ(got.order.as<int32_t>(), (std::vector<int32_t>{1, 2, 5, 0, 4, 3}));
  EXPECT_EQ(got.segments.as<int32_t>(), (std::vector<int32_t>{0, 3, 3, 5, 6, 6}));
}

Kernel expertMatMul(Encoding encoding, int64_t n, int64_t k, int64_t experts, int64_t top_k, int64_t group) {
  Kernel kernel;
  kernel.set_op(Kernel::EXPERT_MATMUL);
  kernel.set_weight(encoding);
  const bool quantised = encoding == program::Q4 || encoding == program::Q8;
  kernel.set_input(quantised ? program::X8 : program::F32);
  kernel.set_n(n);
  kernel.set_k(k);
  kernel.set_experts(experts);
  kernel.set_top_k(top_k);
  kernel.set_group(group);
  return kernel;
}

/// Every head's rows equal MATMUL of their columns with that head's matrix, bit for bit. X8 has heads of whole pairs of blocks; of
/// their columns fewer than all are read.
TEST_P(Experts, EveryHeadEqualsAPlainMatMul) {
  const int64_t n = 90, k = 70, heads = 3;
  Kernel kernel = expertMatMul(encoding(), n, k, 0, 0, 0);
  const bool x8 = kernel.input() == program::X8;
  const int64_t head_dim = x8 ? 128 : 77;
  kernel.set_op(Kernel::HEAD_MATMUL);
  kernel.set_heads(heads);
  kernel.set_head_dim(head_dim);
  ASSERT_TRUE(checkKernel(kernel).ok());
  std::vector<PackedWeight> weights;
  const int64_t bytes = packedBytes(encoding(), n, k);
  Memory stacked(bytes * heads);
  for (int64_t h = 0; h < heads; ++h) {
    weights.push_back(packWeight(encoding(), n, k, static_cast<uint32_t>(50 + h)));
    std::memcpy(stacked.data() + h * bytes, weights.back().packed.data(), bytes);
  }
  for (int64_t tokens : {1, 3, 80}) {
    const std::vector<float> values = randomFloats(tokens * heads * head_dim, 9);
    const Memory x = x8 ? quantiseRows(isa(), values, tokens, heads * head_dim) : Memory::of(values);
    Memory out(tokens * heads * n * 4);
    KernelArgs args{.rows = tokens, .in = {x.data(), stacked.data()}, .out = {out.data()}};
    runKernel(isa(), kernel, args, 2);
    EXPECT_TRUE(out.guardIntact());
    const std::vector<float> got = out.as<float>();
    Kernel plain = kernel;
    plain.set_op(Kernel::MATMUL);
    const int64_t row_bytes = activationRowBytes(plain.input(), k), head_bytes = activationRowBytes(plain.input(), head_dim);
    for (int64_t at = 0; at < tokens * heads; ++at) {
      Memory row(row_bytes), expected(n * 4);
      std::memcpy(row.data(), x.data() + at * head_bytes, row_bytes);
      KernelArgs one{.rows = 1, .in = {row.data(), weights[at % heads].packed.data()}, .out = {expected.data()}};
      runKernel(isa(), plain, one);
      ASSERT_EQ(std::memcmp(expected.data(), &got[at * n], n * 4), 0) << "token " << at / heads << " head " << at % heads;
    }
  }
  kernel.set_head_dim(k - 1);
  EXPECT_FALSE(checkKernel(kernel).ok()) << "fewer columns than are read";
  kernel.set_head_dim(96);
  EXPECT_EQ(checkKernel(kernel).ok(), !x8) << "heads that are no whole pairs of blocks";
}

/// Every pair's row equals MATMUL of that row with that expert, bit for bit, for tokens 1 (decode) to 80 (unpacked q4).
TEST_P(Experts, EveryPairEqualsAPlainMatMul) {
  const int64_t n = 90, k = 70, experts = 5, top_k = 2;
  std::vector<PackedWeight> weights;
  const int64_t bytes = packedBytes(encoding(), n, k);
  Memory stacked(bytes * experts);
  for (int64_t e = 0; e < experts; ++e) {
    weights.push_back(packWeight(encoding(), n, k, static_cast<uint32_t>(40 + e)));
    std::memcpy(stacked.data() + e * bytes, weights.back().packed.data(), bytes);
  }
  for (int64_t tokens : {1, 3, 80}) {
    for (int64_t group : {int64_t{1}, top_k}) {
      std::vector<int32_t> ids;  // expert 3 is never chosen
      for (int64_t t = 0; t < tokens; ++t) {
        ids.push_back(static_cast<int32_t>(t % 3));
        ids.push_back(4);
      }
      const Dispatch plan = dispatch(isa(), ids, tokens, top_k, experts);
      const int64_t pairs = tokens * top_k, x_rows = pairs / group;
      const std::vector<float> values = randomFloats(x_rows * k, 9);
      const bool x8 = expertMatMul(encoding(), n, k, experts, top_k, group).input() == program::X8;
      const Memory x = x8 ? quantiseRows(isa(), values, x_rows, k) : Memory::of(values);
      Memory out(pairs * n * 4);
      KernelArgs args{.rows = pairs, .in = {x.data(), stacked.data(), plan.order.data(), plan.segments.data()}, .out = {out.data()}};
      runKernel(isa(), expertMatMul(encoding(), n, k, experts, top_k, group), args, 3);
      EXPECT_TRUE(out.guardIntact());
      const std::vector<float> got = out.as<float>();

      Kernel plain = expertMatMul(encoding(), n, k, 0, 0, 0);
      plain.set_op(Kernel::MATMUL);
      const int64_t row_bytes = activationRowBytes(plain.input(), k);
      for (int64_t pair = 0; pair < pairs; ++pair) {
        Memory row(row_bytes), expected(n * 4);
        std::memcpy(row.data(), x.data() + pair / group * row_bytes, row_bytes);
        KernelArgs one{.rows = 1, .in = {row.data(), weights[ids[pair]].packed.data()}, .out = {expected.data()}};
        runKernel(isa(), plain, one);
        ASSERT_EQ(std::memcmp(expected.data(), &got[pair * n], n * 4), 0) << "tokens " << tokens << " group " << group << " pair " << pair;
      }
    }
  }
}

TEST_P(Experts, WeightedSum) {
  for (int64_t n : {1, 20, 64, 77}) {
    Kernel kernel;
    kernel.set_op(Kernel::WEIGHTED_SUM);
    kernel.set_n(n);
    kernel.set_top_k(3);
    const auto y = randomFloats(4 * 3 * n, 1), w = randomFloats(12, 2);
    Memory my = Memory::of(y), mw = Memory::of(w), out(4 * n * 4);
    KernelArgs args{.rows = 4, .in = {my.data(), mw.data()}, .out = {out.data()}};
    runKernel(isa(), kernel, args, 3);
    std::vector<double> expected(4 * n, 0.0);
    for (int64_t pair = 0; pair < 12; ++pair) {
      for (int64_t i = 0; i < n; ++i) expected[pair / 3 * n + i] += static_cast<double>(w[pair]) * y[pair * n + i];
    }
    EXPECT_LE(relativeRms(out.as<float>(), expected), 3e-7);
    EXPECT_TRUE(out.guardIntact());
  }
}

TEST_P(Experts, BiasesOfTheChosen) {
  for (int64_t n : {1, 20, 77}) {
    Kernel add, sum;
    add.set_op(Kernel::EXPERT_BIAS_ADD);
    sum.set_op(Kernel::EXPERT_BIAS_SUM);
    for (Kernel* kernel : {&add, &sum}) {
      kernel->set_n(n);
      kernel->set_top_k(3);
      kernel->set_experts(5);
    }
    const auto x = randomFloats(4 * 3 * n, 1), bias = randomFloats(5 * n, 2), w = randomFloats(12, 3);
    const std::vector<int32_t> ids = {4, 0, 2, 1, 1, 3, 0, 4, 3, 2, 1, 0};
    Memory mx = Memory::of(x), mb = Memory::of(bias), mw = Memory::of(w), mi = Memory::of(ids), biased(4 * 3 * n * 4), summed(4 * n * 4);
    runKernel(isa(), add, {.rows = 12, .in = {mx.data(), mb.data(), mi.data()}, .out = {biased.data()}}, 5);
    runKernel(isa(), sum, {.rows = 4, .in = {mw.data(), mi.data(), mb.data()}, .out = {summed.data()}}, 3);
    std::vector<float> expected(12 * n);
    std::vector<double> mixed(4 * n, 0.0);
    for (int64_t pair = 0; pair < 12; ++pair) {
      for (int64_t i = 0; i < n; ++i) {
        expected[pair * n + i] = x[pair * n + i] + bias[ids[pair] * n + i];
        mixed[pair / 3 * n + i] += static_cast<double>(w[pair]) * bias[ids[pair] * n + i];
      }
    }
    EXPECT_EQ(biased.as<float>(), expected);
    EXPECT_LE(relativeRms(summed.as<float>(), mixed), 3e-7);
    EXPECT_TRUE(biased.guardIntact() && summed.guardIntact());
  }
}

INSTANTIATE_TEST_SUITE_P(Host, Experts,
                         testing::Combine(testing::ValuesIn(testedIsas()), testing::Values(program::F32, program::BF16, program::Q8, program::Q4)),
                         [](const auto& info) {
                           std::string text = std::string(name(std::get<0>(info.param))) + "_" + program::Encoding_Name(std::get<1>(info.param));
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

}  // namespace
}  // namespace exo::codegen
