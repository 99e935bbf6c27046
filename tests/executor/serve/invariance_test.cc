// The promise of continuous batching: a request has the same answer, bit for bit of its log-probabilities, whether it runs alone, in a
// batch, from a cached prefix, in chunks of any size, or after it lost its pages. Real kernels, models with made-up weights, one
// rank and two.
#include <gtest/gtest.h>

#include "executor/serve/batcher.h"
#include "tests/executor/serve/test_ranks.h"

namespace exo::serve {
namespace {

using testing::Folder;
using testing::Ranks;

constexpr int64_t kVocabulary = 777, kContext = 512;

struct Answer : TokenListener {
  bool token(const Choice& choice) override {
    tokens.push_back(choice.token.id);
    logprobs.push_back(choice.token.logprob);
    for (const ScoredToken& each : choice.alternatives) logprobs.push_back(each.logprob);
    return true;
  }
  void end(const TokenEnd& given) override { last = given; }
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::optional<TokenEnd> last;
};

TokenRequest request(int32_t length, int32_t prefix, float temperature) {
  TokenRequest request{.max_tokens = 20, .logprobs = 4};
  for (int32_t i = 0; i < length; ++i) request.prompt.push_back((i * 37 + (i < 150 ? prefix : length) * 11) % static_cast<int32_t>(kVocabulary));
  request.sampling.temperature = temperature;
  request.sampling.seed = 5;
  return request;
}

/// Some of them have their beginning in common.
std::vector<TokenRequest> requests() {
  std::vector<TokenRequest> all;
  for (const int32_t length : {1, 2, 31, 64, 65, 130, 170, 200}) all.push_back(request(length, length >= 130 ? 3 : length, length % 2 == 0 ? 0.0f : 0.8f));
  return all;
}

/// Runs them all, a new one every `every` steps; 0: all at once.
std::vector<std::shared_ptr<Answer>> together(Batcher& batcher, const std::vector<TokenRequest>& all, int every) {
  static uint64_t next_id = 0;
  std::vector<std::shared_ptr<Answer>> answers;
  for (const TokenRequest& each : all) {
    batcher.add(++next_id, each, answers.emplace_back(std::make_shared<Answer>()));
    for (int i = 0; i < every; ++i) EXPECT_TRUE(batcher.step().ok());
  }
  while (!batcher.idle()) {
    const Status status = batcher.step();
    EXPECT_TRUE(status.ok()) << status.error();
    if (!status.ok()) break;
  }
  return answers;
}

void expectSame(const std::vector<std::shared_ptr<Answer>>& got, const std::vector<std::shared_ptr<Answer>>& expected, const char* how) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(got[i]->last) << how;
    EXPECT_EQ(got[i]->last->reason, FinishReason::kLength) << how << ", request " << i;
    EXPECT_EQ(got[i]->tokens, expected[i]->tokens) << how << ", request " << i;
    EXPECT_EQ(got[i]->logprobs, expected[i]->logprobs) << how << ", request " << i;
  }
}

class Invariance : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(Invariance, AnswersDoNotDependOnWhatElseRuns) {
  const auto& [quantization, world] = GetParam();
  const Folder folder;
  plan::Plan plan = testing::randomPlan({.quantization = quantization, .ranks = world, .vocabulary = kVocabulary, .context = kContext}, folder);
  ASSERT_EQ(plan.programs_size(), world);
  const std::vector<TokenRequest> all = requests();
  std::vector<std::shared_ptr<Answer>> alone;
  {
    Ranks ranks(plan);
    for (const TokenRequest& each : all) {
      Batcher batcher(ranks.driver());
      alone.push_back(together(batcher, {each}, 0)[0]);
    }
    Batcher batcher(ranks.driver());
    expectSame(together(batcher, all, 0), alone, "together");
    const uint64_t cached = batcher.metrics().cached_prompt_tokens;
    expectSame(together(batcher, all, 3), alone, "one after the other, from cached prefixes");
    EXPECT_GT(batcher.metrics().cached_prompt_tokens, cached + 300);
    // A clock by which prompts are dear: small chunks beside whoever decodes.
    Clock::time_point now{};
    int64_t calls = 0;
    Batcher slow(ranks.driver(), [&] { return now += std::chrono::milliseconds(++calls < 4 ? 1 : 100); });
    expectSame(together(slow, all, 2), alone, "in small chunks");
  }
  for (program::Program& program : *plan.mutable_programs()) program.set_num_pages(5);
  Ranks ranks(plan);
  Batcher batcher(ranks.driver());
  expectSame(together(batcher, all, 1), alone, "in a cache too small for all");
  EXPECT_GT(batcher.metrics().preemptions + batcher.metrics().evicted_pages, 0u);
}

INSTANTIATE_TEST_SUITE_P(Plans, Invariance, ::testing::Combine(::testing::Values("f32", "q8", "q4"), ::testing::Values(1, 2)),
                         [](const auto& info) { return std::string(std::get<0>(info.param)) + "_" + std::to_string(std::get<1>(info.param)); });

}  // namespace
}  // namespace exo::serve
