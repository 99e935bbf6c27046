// Expected values: the published formulas in f64, computed with Python's math module.
#include "frontend/config/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace exo {
namespace {

// f32 arithmetic in a few steps: about four units in the last place.
void expectFrequencies(const std::vector<float>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t p = 0; p < got.size(); ++p) EXPECT_NEAR(got[p], expected[p], 5e-7 * expected[p]) << "pair " << p;
}

RopeConfig llama3(double factor, int64_t original) {
  return {.type = RopeType::kLlama3,
          .theta = 500000.0,
          .factor = factor,
          .original_max_position_embeddings = original,
          .low_freq_factor = 1.0,
          .high_freq_factor = 4.0};
}

TEST(Rope, DefaultIsAGeometricSeries) {
  const RopeTable table = ropeFrequencies({.theta = 10000.0}, 8, 4096);
  expectFrequencies(table.inverse_frequencies, {1.0, 0.1, 0.01, 0.001});
  EXPECT_EQ(table.attention_scaling, 1.0f);
}

TEST(Rope, LinearDividesByTheFactor) {
  const RopeTable table = ropeFrequencies({.type = RopeType::kLinear, .theta = 10000.0, .factor = 4.0}, 8, 4096);
  expectFrequencies(table.inverse_frequencies, {0.25, 0.025, 0.0025, 0.00025});
}

TEST(Rope, Llama3KeepsFastPairsDividesSlowOnesBlendsBetween) {
  // Original context 64: wavelengths below 16 kept, above 64 divided by 8; 2π/0.1939 = 32.4 lies between.
  expectFrequencies(ropeFrequencies(llama3(8.0, 64), 16, 512).inverse_frequencies,
                    {1.0, 0.0794030092, 0.00470075387, 0.000911583092, 0.000176776695, 3.4281022e-05, 6.64786987e-06,
                     1.28917317e-06});
}

TEST(Rope, Llama31Published) {
  const auto table = ropeFrequencies(llama3(8.0, 8192), 128, 131072).inverse_frequencies;
  expectFrequencies({table[0], table[20], table[28], table[32], table[36], table[40], table[63]},
                    {1.0, 0.0165604401, 0.00321144599, 0.000524846161, 7.78465527e-05, 3.4281022e-05, 3.06892599e-07});
}

TEST(Rope, YarnBlendsOverTheCorrectionRange) {
  RopeConfig yarn{.type = RopeType::kYarn, .theta = 10000.0, .factor = 4.0, .original_max_position_embeddings = 32};
  const std::vector<double> slow = {0.025, 0.00790569415, 0.0025, 0.000790569415, 0.00025, 7.90569415e-05};
  std::vector<double> expected = {1.0, 0.197642354};  // range 0 to 2: pair 1 is half way
  expected.insert(expected.end(), slow.begin(), slow.end());
  const RopeTable table = ropeFrequencies(yarn, 16, 128);
  expectFrequencies(table.inverse_frequencies, expected);
  EXPECT_NEAR(table.attention_scaling, 1.138629436111989, 1e-7);  // 0.1 ln 4 + 1

  yarn.truncate = false;  // range 0 to 1.41394
  expected[1] = 0.148490247;
  expectFrequencies(ropeFrequencies(yarn, 16, 128).inverse_frequencies, expected);
}

TEST(Rope, YarnForQwen) {
  const RopeConfig yarn{
      .type = RopeType::kYarn, .theta = 1e6, .factor = 4.0, .original_max_position_embeddings = 32768};
  expectFrequencies(ropeFrequencies(yarn, 16, 131072).inverse_frequencies,
                    {1.0, 0.177827941, 0.0316227766, 0.00421755994, 0.0005, 4.44569853e-05, 7.90569415e-06, 1.40585331e-06});
}

TEST(Rope, YarnAttentionScaling) {
  RopeConfig yarn{.type = RopeType::kYarn, .factor = 40.0, .original_max_position_embeddings = 4096};
  yarn.mscale = 0.707, yarn.mscale_all_dim = 1.0;
  EXPECT_NEAR(ropeFrequencies(yarn, 64, 1).attention_scaling, 0.9210423553163399, 1e-7);
  yarn.mscale_all_dim = 0.707;
  EXPECT_EQ(ropeFrequencies(yarn, 64, 1).attention_scaling, 1.0f);
  yarn.mscale_all_dim = 0.0;  // absent: mscale alone does nothing
  EXPECT_NEAR(ropeFrequencies(yarn, 64, 1).attention_scaling, 0.1 * std::log(40.0) + 1.0, 1e-7);
  yarn.attention_factor = 0.5;
  EXPECT_EQ(ropeFrequencies(yarn, 64, 1).attention_scaling, 0.5f);
}

TEST(Rope, LongRopeHasFactorsForShortAndForLongContexts) {
  RopeConfig rope{.type = RopeType::kLongRope, .theta = 10000.0, .factor = 32.0, .original_max_position_embeddings = 4096};
  rope.short_factor = {1, 2, 1, 1}, rope.long_factor = {1, 1, 4, 8};
  expectFrequencies(ropeFrequencies(rope, 8, 4096).inverse_frequencies, {1.0, 0.05, 0.01, 0.001});
  expectFrequencies(ropeFrequencies(rope, 8, 4097).inverse_frequencies, {1.0, 0.1, 0.0025, 0.000125});
  // √(1 + ln 32 / ln 4096) = √(1 + 5 / 12)
  EXPECT_NEAR(ropeFrequencies(rope, 8, 1).attention_scaling, 1.190238071, 1e-7);
  rope.factor = 1.0;
  EXPECT_EQ(ropeFrequencies(rope, 8, 1).attention_scaling, 1.0f);
}

TEST(Rope, DynamicGrowsTheBaseBeyondTheOriginalLength) {
  const RopeConfig dynamic{
      .type = RopeType::kDynamic, .theta = 10000.0, .factor = 2.0, .original_max_position_embeddings = 2048};
  const std::vector<double> plain = {1.0, 0.1, 0.01, 0.001};
  expectFrequencies(ropeFrequencies(dynamic, 8, 100).inverse_frequencies, plain);
  expectFrequencies(ropeFrequencies(dynamic, 8, 2048).inverse_frequencies, plain);
  // At 4096: base 10000 · (2 · 2 − 1)^(8/6) = 43267.487
  expectFrequencies(ropeFrequencies(dynamic, 8, 4096).inverse_frequencies,
                    {1.0, 0.0693361274, 0.00480749857, 0.000333333333});
}

}  // namespace
}  // namespace exo
