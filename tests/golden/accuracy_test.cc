// What int8 activations cost, against a bound from theory.
//
// A block of 32 activations is rounded to scale = max|x| / 127 steps: an error of variance scale² / 12. For normal x the largest
// of 32 is about 2.1 standard deviations (for others more), so an activation is off by 2.1 / 127 / √12 = 0.5 % of its spread, and so, independent
// errors adding like the terms, is every product of a matmul: kMatmulError. The residual stream of a model of L blocks is a sum of
// 2 L contributions, each of which went through up to two rounded matmuls in a row beside what it inherits, and the head rounds once more: variances
// of 4 L + 1 roundings, each as large as if its contribution were the whole stream (so a bound, not an estimate):
//   rms of the differences <= kMatmulError √(4 L + 1) of the logits' spread.
// kSlack covers activations with heavier tails than normal ones. Single differences are near normal: among n of them the largest
// is within √(2 ln n) + 1 rms.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/agreement.h"

namespace exo::bench {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(EXO_TEST_DATA) / "golden";
constexpr double kMatmulError = 2.1 / 127 / 3.4641;
constexpr double kSlack = 2;

constexpr size_t kMostPromptTokens = 40;  // the interpreter takes its time

Agreement agreement(const std::string& model, Quantization quantization) {
  AgreementRequest request{.model = kGolden / model, .quantization = quantization, .prompts = {}, .max_tokens = 8};
  std::ifstream file(kGolden / model / "expected.json");
  const auto expected = nlohmann::json::parse(file);
  for (const auto& prompt : expected.at("prompts"))
    if (prompt.at("input_ids").size() <= kMostPromptTokens) request.prompts.push_back(prompt.at("input_ids"));
  const auto result = agreementOf(request);
  EXPECT_TRUE(result.ok()) << result.error();
  return result.ok() ? *result : Agreement{};
}

double boundOf(const Agreement& agreement) { return kSlack * kMatmulError * std::sqrt(4.0 * static_cast<double>(agreement.layers) + 1); }

class Accuracy : public ::testing::TestWithParam<std::tuple<std::string, Quantization>> {
 protected:
  Agreement agreement_ = agreement(std::get<0>(GetParam()), std::get<1>(GetParam()));
};
class DenseAccuracy : public Accuracy {};
class ExpertAccuracy : public Accuracy {};

// The range of some hundred normal logits is about six spreads, and at least four.
constexpr double kSpreadsInRange = 4;

TEST_P(DenseAccuracy, LogitsDifferByTheNoiseOfInt8Activations) {
  ASSERT_GT(agreement_.rows, 30);
  const double bound = boundOf(agreement_);
  EXPECT_LT(agreement_.relative_rms, bound);
  EXPECT_GT(agreement_.relative_rms, kMatmulError / 10) << "were the activations rounded at all?";
  const double largest = std::sqrt(2 * std::log(static_cast<double>(agreement_.rows * agreement_.columns))) + 1;
  EXPECT_LT(agreement_.max, bound * largest / kSpreadsInRange);
  // Another best token is said only where the two led by less than two errors.
  EXPECT_LT(agreement_.smallest_lead, 2 * agreement_.max);
}

/// A token near the border between two experts goes to the other one, and its logits are others: the median is held, which for
/// normal differences is 0.67 rms.
TEST_P(ExpertAccuracy, MostLogitsDifferByTheNoiseOfInt8Activations) {
  ASSERT_GT(agreement_.rows, 30);
  EXPECT_LT(agreement_.p50, 0.67 * boundOf(agreement_) / kSpreadsInRange);
  EXPECT_GT(agreement_.relative_rms, kMatmulError / 10) << "were the activations rounded at all?";
}

const auto kQuantized = ::testing::Values(Quantization::kQ8, Quantization::kQ4);
std::string title(const ::testing::TestParamInfo<Accuracy::ParamType>& info) { return std::get<0>(info.param) + "_" + name(std::get<1>(info.param)); }
INSTANTIATE_TEST_SUITE_P(Models, DenseAccuracy, ::testing::Combine(::testing::Values("llama", "qwen3"), kQuantized), title);
INSTANTIATE_TEST_SUITE_P(Models, ExpertAccuracy, ::testing::Combine(::testing::Values("qwen3_moe", "mixtral"), kQuantized), title);

/// f32 throughout: only the order of sums differs.
TEST(AccuracyF32, LogitsAndGreedyTokensAreTheReferences) {
  for (const char* model : {"llama", "qwen3", "qwen3_moe", "mixtral"}) {
    const Agreement f32 = agreement(model, Quantization::kF32);
    EXPECT_LT(f32.max, 1e-4) << model;
    EXPECT_EQ(f32.greedy_equal, f32.greedy_tokens) << model;
  }
}

}  // namespace
}  // namespace exo::bench
