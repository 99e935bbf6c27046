#include "executor/serve/generation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "executor/runtime/driver.h"
#include "executor/runtime/engine.h"
#include "tests/executor/runtime/tiny_model.h"

namespace exo::serve {
namespace {

namespace testing = runtime::testing;
using testing::Ffn;
using runtime::Driver;
using runtime::Engine;

const std::vector<int32_t> kPrompt = {3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26, 43, 38, 32, 79, 50, 28, 84, 19, 71, 69, 39, 93, 75, 10, 58};

class Generation : public ::testing::Test {
 protected:
  void start(program::Program program) {
    auto engine = Engine::create(std::move(program), {.threads = 2}, testing::readWeight, nullptr);
    ASSERT_TRUE(engine.ok()) << engine.error();
    engine_ = std::move(engine).value();
    auto driver = Driver::create(*engine_, nullptr, std::chrono::seconds(1));
    ASSERT_TRUE(driver.ok()) << driver.error();
    driver_ = std::move(driver).value();
    generator_ = std::make_unique<Generator>(*driver_);
  }
  void SetUp() override { start(testing::loadProgram("tiny_llama")); }

  GenerationResult generate(const GenerationRequest& request) {
    auto result = generator_->generate(request);
    EXPECT_TRUE(result.ok()) << result.error();
    return result.ok() ? *result : GenerationResult{};
  }
  void expectRefused(const GenerationRequest& request, ErrorCode code, const std::string& words) {
    auto result = generator_->generate(request);
    ASSERT_FALSE(result.ok()) << words;
    EXPECT_EQ(result.error().code(), code);
    EXPECT_NE(result.error().message().find(words), std::string::npos) << result.error();
    EXPECT_EQ(generator_->pages().used(), 0);
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<Generator> generator_;
};

/// Greedy continuation by the double-precision model.
std::vector<int32_t> referenceAnswer(std::vector<int32_t> tokens, int count) {
  std::vector<int32_t> answer;
  for (int i = 0; i < count; ++i) {
    const auto logits = testing::referenceLogits(tokens, Ffn::kDense).back();
    answer.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    tokens.push_back(answer.back());
  }
  return answer;
}

TEST_F(Generation, GreedyIsTheModelsChoice) {
  std::vector<int32_t> seen;
  const auto result = generate({.prompt = kPrompt, .max_tokens = 12, .on_token = [&](int32_t token) { seen.push_back(token); }});
  EXPECT_EQ(result.tokens, referenceAnswer(kPrompt, 12));
  EXPECT_EQ(seen, result.tokens);
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(result.usage.prompt_tokens, 27);
  EXPECT_EQ(result.usage.generated_tokens, 12);
  EXPECT_GT(result.timings.prompt.count(), 0);
  EXPECT_GT(result.timings.generation.count(), 0);
}

TEST_F(Generation, AStopIdEndsAndIsNotPartOfTheAnswer) {
  const auto all = referenceAnswer(kPrompt, 6);
  const auto stop_at = std::find(all.begin(), all.end(), all[4]) - all.begin();
  const auto result = generate({.prompt = kPrompt, .max_tokens = 50, .stop_ids = {all[4]}});
  EXPECT_EQ(result.finish, FinishReason::kStop);
  EXPECT_EQ(result.tokens, std::vector<int32_t>(all.begin(), all.begin() + stop_at));
}

TEST_F(Generation, SamplingIsReproducibleAndSeeded) {
  const GenerationRequest request{.prompt = kPrompt, .sampling = {.temperature = 2, .seed = 5}, .max_tokens = 30};
  GenerationRequest other = request;
  other.sampling.seed = 6;
  EXPECT_EQ(generate(request).tokens, generate(request).tokens);
  EXPECT_NE(generate(request).tokens, generate(other).tokens);
}

TEST_F(Generation, CancellingEndsBetweenSteps) {
  std::atomic<bool> cancel{false};
  int tokens = 0;
  const auto result = generate({.prompt = kPrompt, .max_tokens = 100, .cancel = &cancel, .on_token = [&](int32_t) { cancel = ++tokens == 3; }});
  EXPECT_EQ(result.finish, FinishReason::kCancelled);
  EXPECT_EQ(result.tokens.size(), 3u);
  EXPECT_EQ(generator_->pages().used(), 0);
  cancel = true;
  EXPECT_EQ(generate({.prompt = kPrompt, .max_tokens = 100, .cancel = &cancel}).finish, FinishReason::kCancelled);
}

TEST_F(Generation, TheContextsEndIsALength) {
  const auto result = generate({.prompt = std::vector<int32_t>(190, 7), .max_tokens = 100});
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(result.tokens.size(), 3u);   // at positions 190, 191, and one that is never fed
  EXPECT_EQ(generate({.prompt = std::vector<int32_t>(192, 7), .max_tokens = 100}).tokens.size(), 1u);
}

TEST_F(Generation, PromptLogitsAreThoseOfEveryPosition) {
  std::vector<float> logits;
  const auto result = generate({.prompt = kPrompt, .on_prompt_logits = [&](int64_t first, std::span<const float> part) {
                                  EXPECT_EQ(static_cast<size_t>(first) * testing::kVocabulary, logits.size());
                                  logits.insert(logits.end(), part.begin(), part.end());
                                }});
  EXPECT_TRUE(result.tokens.empty());
  const auto expected = testing::referenceLogits(kPrompt, Ffn::kDense);
  ASSERT_EQ(logits.size(), expected.size() * testing::kVocabulary);
  for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i / testing::kVocabulary][i % testing::kVocabulary], 3e-5);
}

TEST_F(Generation, RequestsThatCannotWorkAreRefusedWithNumbers) {
  expectRefused({.prompt = std::vector<int32_t>(193, 7), .max_tokens = 1}, ErrorCode::kInvalidInput, "193 tokens, the context of this model as loaded has 192");
  expectRefused({.prompt = {}, .max_tokens = 1}, ErrorCode::kInvalidInput, "empty");
  expectRefused({.prompt = {1, 2, 100}, .max_tokens = 1}, ErrorCode::kInvalidInput, "token id 100 at index 2");
  expectRefused({.prompt = {1}, .max_tokens = -1}, ErrorCode::kInvalidInput, "max_tokens");
  expectRefused({.prompt = {1}, .sampling = {.temperature = -1}, .max_tokens = 1}, ErrorCode::kInvalidInput, "temperature");
  EXPECT_EQ(generate({.prompt = kPrompt, .max_tokens = 3}).tokens, referenceAnswer(kPrompt, 3));
}

TEST_F(Generation, AFullCacheIsAnErrorOfTheRequest) {
  program::Program program = testing::loadProgram("tiny_llama");
  program.set_num_pages(1);
  start(program);
  expectRefused({.prompt = std::vector<int32_t>(65, 7), .max_tokens = 1}, ErrorCode::kDoesNotFit, "65 positions need 2 pages of 64, there are 1");
  // Found while generating, too: 64 positions are one page.
  expectRefused({.prompt = std::vector<int32_t>(60, 7), .max_tokens = 10}, ErrorCode::kDoesNotFit, "65 positions need 2 pages");
  EXPECT_EQ(generate({.prompt = std::vector<int32_t>(60, 7), .max_tokens = 5}).tokens.size(), 5u);
}

}  // namespace
}  // namespace exo::serve
