#include "executor/runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace exo::runtime {
namespace {

const std::vector<float> kValues = {2.0f, 1.0f, 0.0f, -1.0f};
const std::vector<int32_t> kIds = {10, 20, 30, 40};

int32_t draw(const SamplingParameters& parameters, uint64_t position, const std::vector<float>& values = kValues,
             const std::vector<int32_t>& ids = kIds) {
  auto token = sampleToken(parameters, values, ids, 100, position);
  EXPECT_TRUE(token.ok()) << token.error();
  return token.ok() ? *token : -1;
}

std::map<int32_t, double> frequencies(const SamplingParameters& parameters, int draws = 40000) {
  std::map<int32_t, double> counts;
  for (int i = 0; i < draws; ++i) counts[draw(parameters, static_cast<uint64_t>(i))] += 1.0 / draws;
  return counts;
}

TEST(Sampler, GreedyTakesTheBestAndTheSmallerIdOfEquals) {
  EXPECT_EQ(draw({}, 0), 10);
  EXPECT_EQ(draw({}, 0, {1, 3, 3, 2}, {5, 9, 7, 1}), 7);
  EXPECT_EQ(draw({.temperature = 5, .top_k = 1}, 3), 10);
}

TEST(Sampler, TemperatureShapesTheDistribution) {
  // exp(v / 2): e^1, e^0.5, e^0, e^-0.5 over their sum 5.9736
  const auto counts = frequencies({.temperature = 2, .seed = 7});
  EXPECT_NEAR(counts.at(10), 2.71828 / 5.97353, 0.01);
  EXPECT_NEAR(counts.at(20), 1.64872 / 5.97353, 0.01);
  EXPECT_NEAR(counts.at(30), 1.0 / 5.97353, 0.01);
  EXPECT_NEAR(counts.at(40), 0.60653 / 5.97353, 0.01);
}

TEST(Sampler, TopKAndTopPCut) {
  EXPECT_EQ(frequencies({.temperature = 2, .top_k = 2, .seed = 1}, 2000).size(), 2u);
  // 0.455, 0.276, 0.167, 0.102: 0.7 needs two, 0.74 three
  EXPECT_EQ(frequencies({.temperature = 2, .top_p = 0.7f, .seed = 1}, 2000).size(), 2u);
  EXPECT_EQ(frequencies({.temperature = 2, .top_p = 0.74f, .seed = 1}, 2000).size(), 3u);
  EXPECT_EQ(frequencies({.temperature = 2, .top_p = 1e-6f, .seed = 1}, 100).size(), 1u);
}

TEST(Sampler, ATinyTemperatureIsGreedy) {
  EXPECT_EQ(frequencies({.temperature = 1e-30f, .seed = 3}, 100), (std::map<int32_t, double>{{10, frequencies({}, 100).at(10)}}));
}

TEST(Sampler, SeedAndPositionDecideAndOrderDoesNot) {
  const SamplingParameters parameters{.temperature = 3, .seed = 42};
  bool differs = false;
  for (uint64_t position = 0; position < 50; ++position) {
    const int32_t token = draw(parameters, position);
    EXPECT_EQ(token, draw(parameters, position));
    EXPECT_EQ(token, draw(parameters, position, {-1.0f, 2.0f, 0.0f, 1.0f}, {40, 10, 30, 20}));
    differs |= token != draw({.temperature = 3, .seed = 43}, position);
  }
  EXPECT_TRUE(differs);
}

TEST(Sampler, PhiloxIsTheOneOfThePaper) {
  // Known answer of Philox-4x32-10 for counter 0, key 0 (Random123): 6627e8d5 e169c58d ...
  EXPECT_EQ(uniform(0, 0), static_cast<double>(0x6627e8d5e169c58dull >> 11) * 0x1.0p-53);
}

TEST(Sampler, PaddingIsNoCandidate) {
  const float lowest = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(draw({.temperature = 1}, 5, {1, lowest, lowest}, {3, -1, -1}), 3);
  EXPECT_FALSE(sampleToken({}, std::vector<float>{lowest}, std::vector<int32_t>{-1}, 100, 0).ok());
}

TEST(Sampler, DamagedCandidatesAreErrors) {
  EXPECT_FALSE(sampleToken({}, std::vector<float>{1}, std::vector<int32_t>{100}, 100, 0).ok());
  EXPECT_FALSE(sampleToken({}, std::vector<float>{1}, std::vector<int32_t>{-2}, 100, 0).ok());
  EXPECT_FALSE(sampleToken({}, std::vector<float>{NAN}, std::vector<int32_t>{1}, 100, 0).ok());
  EXPECT_FALSE(sampleToken({}, std::vector<float>{INFINITY}, std::vector<int32_t>{1}, 100, 0).ok());
  EXPECT_FALSE(sampleToken({}, std::vector<float>{1, 2}, std::vector<int32_t>{1}, 100, 0).ok());
}

TEST(Sampler, ParametersOutOfRangeAreRefused) {
  EXPECT_FALSE(validate(SamplingParameters{.temperature = -1}).ok());
  EXPECT_FALSE(validate(SamplingParameters{.temperature = NAN}).ok());
  EXPECT_FALSE(validate(SamplingParameters{.top_k = -1}).ok());
  EXPECT_FALSE(validate(SamplingParameters{.top_p = 0}).ok());
  EXPECT_FALSE(validate(SamplingParameters{.top_p = 1.5f}).ok());
  EXPECT_TRUE(validate(SamplingParameters{}).ok());
}

}  // namespace
}  // namespace exo::runtime
