#include "executor/serve/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace exo::serve {
namespace {

constexpr int64_t kVocabulary = 100;

void expectRefused(const SamplingParameters& parameters, const std::string& words) {
  const Status status = validate(parameters, kVocabulary);
  ASSERT_FALSE(status.ok()) << words;
  EXPECT_EQ(status.error().code(), ErrorCode::kInvalidInput);
  EXPECT_NE(status.error().message().find(words), std::string::npos) << status.error();
}

TEST(SamplingParametersTest, DefaultsAndLimitsAreGood) {
  EXPECT_TRUE(validate({}, kVocabulary).ok());
  EXPECT_TRUE(validate({.temperature = 100, .top_p = 1, .min_p = 0.99f, .presence_penalty = -100, .frequency_penalty = 100}, kVocabulary).ok());
  EXPECT_TRUE(validate({.logit_bias = {{0, -std::numeric_limits<float>::infinity()}, {99, 100}}}, kVocabulary).ok());
}

TEST(SamplingParametersTest, EveryRangeIsChecked) {
  expectRefused({.temperature = -0.1f}, "temperature must be in [0, 100], got -0.1");
  expectRefused({.temperature = std::nanf("")}, "temperature");
  expectRefused({.top_k = -1}, "top_k must not be negative, got -1");
  expectRefused({.top_p = 0}, "top_p must be in (0, 1], got 0");
  expectRefused({.min_p = 1}, "min_p must be in [0, 1), got 1");
  expectRefused({.typical_p = 1.5f}, "typical_p must be in (0, 1], got 1.5");
  expectRefused({.repetition_penalty = 0}, "repetition_penalty must be in (0, 100], got 0");
  expectRefused({.presence_penalty = 101}, "presence_penalty must be in [-100, 100], got 101");
  expectRefused({.frequency_penalty = -std::numeric_limits<float>::infinity()}, "frequency_penalty");
}

TEST(SamplingParametersTest, BiasesNameTokensOnce) {
  expectRefused({.logit_bias = {{100, 1}}}, "token id 100 is outside the vocabulary of 100");
  expectRefused({.logit_bias = {{-1, 1}}}, "token id -1");
  expectRefused({.logit_bias = {{7, 1}, {3, 1}, {7, 2}}}, "names token 7 twice");
  expectRefused({.logit_bias = {{7, std::nanf("")}}}, "logit_bias of token 7 must be finite");
  SamplingParameters many;
  many.logit_bias.resize(kMaxLogitBias + 1);
  expectRefused(many, "at most 4096 tokens, got 4097");
}

}  // namespace
}  // namespace exo::serve
