#include "frontend/checkpoint/random_weights.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

namespace exo {
namespace {

std::vector<float> all(const RandomWeights& weights, const TensorRef& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.rows() * tensor.columns()));
  EXPECT_TRUE(weights.readAll(tensor, values).ok());
  return values;
}

struct Moments {
  double mean = 0.0, deviation = 0.0;
};

Moments momentsOf(const std::vector<float>& values) {
  double sum = 0.0, squares = 0.0;
  for (const float value : values) sum += value, squares += static_cast<double>(value) * value;
  const double mean = sum / static_cast<double>(values.size());
  return {mean, std::sqrt(squares / static_cast<double>(values.size()) - mean * mean)};
}

TEST(RandomWeights, SlicesAgreeWithTheWhole) {
  const RandomWeights weights(7);
  const TensorRef tensor{"w", {50, 33}};
  const std::vector<float> whole = all(weights, tensor);
  std::vector<float> slice(4 * 9);
  ASSERT_TRUE(weights.readRows(tensor, {10, 14, 20, 29}, slice).ok());
  for (size_t row = 0; row < 4; ++row)
    for (size_t column = 0; column < 9; ++column)
      EXPECT_EQ(slice[row * 9 + column], whole[(10 + row) * 33 + 20 + column]);
}

TEST(RandomWeights, DependOnSeedAndName) {
  const TensorRef a{"a", {16, 16}}, b{"b", {16, 16}};
  EXPECT_EQ(all(RandomWeights(1), a), all(RandomWeights(1), a));
  EXPECT_NE(all(RandomWeights(1), a), all(RandomWeights(1), b));
  EXPECT_NE(all(RandomWeights(1), a), all(RandomWeights(2), a));
}

// The same on every machine and in every version: nodes of one cluster compute slices of one tensor.
// Reference: the definition in random_weights.cc, evaluated with Python's integers.
TEST(RandomWeights, AreTheSameForEver) {
  std::vector<float> values(3);
  ASSERT_TRUE(RandomWeights(42).readRows({"model.norm.weight", {3}}, {0, 1, 0, 3}, values).ok());
  EXPECT_FLOAT_EQ(values[0], 1.04635118f);
  EXPECT_FLOAT_EQ(values[1], 1.07368405f);
  EXPECT_FLOAT_EQ(values[2], 0.91548006f);
}

// 2^18 samples: the mean of n samples deviates by σ/√n = σ/512; bounds are five of these.
TEST(RandomWeights, KeepTheScaleOfActivations) {
  const Moments matrix = momentsOf(all(RandomWeights(3), {"m", {256, 1024}}));
  EXPECT_NEAR(matrix.mean, 0.0, 5.0 / 32 / 512);
  EXPECT_NEAR(matrix.deviation, 1.0 / 32, 0.01 / 32);
  const Moments norm = momentsOf(all(RandomWeights(3), {"input_layernorm.weight", {1 << 18}}));
  EXPECT_NEAR(norm.mean, 1.0, 5 * 0.05 / 512);
  EXPECT_NEAR(norm.deviation, 0.05, 0.0005);
  const Moments bias = momentsOf(all(RandomWeights(3), {"q_proj.bias", {1 << 18}}));
  EXPECT_NEAR(bias.mean, 0.0, 5 * 0.05 / 512);
}

TEST(RandomWeights, NeighboursAreUncorrelated) {
  const std::vector<float> values = all(RandomWeights(3), {"m", {512, 512}});
  const double variance = 1.0 / 512;
  for (const size_t distance : {1u, 2u, 16u, 512u}) {
    double sum = 0.0;
    for (size_t i = distance; i < values.size(); ++i) sum += static_cast<double>(values[i]) * values[i - distance];
    EXPECT_NEAR(sum / static_cast<double>(values.size()) / variance, 0.0, 5.0 / 512) << "distance " << distance;
  }
}

TEST(RandomWeights, IdentityIsTheSeed) {
  EXPECT_EQ(RandomWeights(3).identity(), RandomWeights(3).identity());
  EXPECT_NE(RandomWeights(3).identity(), RandomWeights(4).identity());
}

// Printed, not asserted: shared machines are too noisy for a bound that means something.
TEST(RandomWeights, Speed) {
  std::vector<float> values(1 << 22);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(RandomWeights(1).readAll({"m", {2048, 2048}}, values).ok());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << "random weights: " << static_cast<double>(values.size() * sizeof(float)) / seconds.count() * 1e-6 << " MB/s\n";
}

}  // namespace
}  // namespace exo
