#include "executor/serve/batcher.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/executor/serve/fake_runner.h"

namespace exo::serve {
namespace {

using testing::FakeRunner;

constexpr runtime::StepLimits kLimits{.max_tokens = 8, .max_rows = 16, .max_context = 48, .page_tokens = 4, .num_pages = 24, .vocab_size = 100};

struct Answer : TokenListener {
  void progress(const PromptProgress& progress) override { progresses.push_back(progress); }
  bool token(const Choice& choice) override {
    tokens.push_back(choice.token.id);
    choices.push_back(choice);
    return stop_after == 0 || tokens.size() < stop_after;
  }
  Status promptLogits(int64_t first, std::span<const float> values) override {
    EXPECT_EQ(static_cast<size_t>(first) * kLimits.vocab_size, logits.size());
    logits.insert(logits.end(), values.begin(), values.end());
    return {};
  }
  void end(const TokenEnd& given) override {
    EXPECT_FALSE(last) << "ended twice";
    last = given;
  }
  std::vector<int32_t> tokens;
  std::vector<Choice> choices;
  std::vector<float> logits;
  std::vector<PromptProgress> progresses;
  std::optional<TokenEnd> last;
  size_t stop_after = 0;
};

class BatcherTest : public ::testing::Test {
 protected:
  void start(const runtime::StepLimits& limits) {
    runner_.emplace(limits);
    batcher_.emplace(*runner_, [this] { return now_ += std::chrono::milliseconds(1); });
  }
  void SetUp() override { start(kLimits); }

  std::shared_ptr<Answer> add(TokenRequest request) {
    auto answer = std::make_shared<Answer>();
    request.arrived = now_;
    const Status status = check(request, runner_->limits());
    EXPECT_TRUE(status.ok()) << status.error();
    batcher_->add(++id_, std::move(request), answer);
    return answer;
  }
  void run() {
    for (int i = 0; i < 10'000 && !batcher_->idle(); ++i) {
      const Status status = batcher_->step();
      ASSERT_TRUE(status.ok()) << status.error();
    }
    EXPECT_TRUE(batcher_->idle());
    EXPECT_EQ(batcher_->scheduler().pages().used(), 0);
  }
  std::vector<int32_t> reference(std::vector<int32_t> tokens, size_t count) const {
    std::vector<int32_t> answer;
    while (answer.size() < count) tokens.push_back(answer.emplace_back(runner_->next(tokens)));
    return answer;
  }
  static std::vector<int32_t> prompt(int32_t length, int32_t seed) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < length; ++i) tokens.push_back((seed * 31 + i * 7) % 100);
    return tokens;
  }

  std::optional<FakeRunner> runner_;
  std::optional<Batcher> batcher_;
  Clock::time_point now_{};
  uint64_t id_ = 0;
};

TEST_F(BatcherTest, AloneTogetherFromAPrefixAndAfterPreemptionTheSameText) {
  std::vector<std::vector<int32_t>> expected;
  for (int32_t i = 0; i < 12; ++i) expected.push_back(reference(prompt(3 + 2 * i, i % 4), 16));
  for (const int64_t pages : {24, 13}) {   // 13: too few for all, sequences lose theirs
    runtime::StepLimits limits = kLimits;
    limits.num_pages = pages;
    start(limits);
    for (int round = 0; round < 2; ++round) {   // the second finds prefixes of the first
      std::vector<std::shared_ptr<Answer>> answers;
      for (int32_t i = 0; i < 12; ++i) {
        answers.push_back(add({.prompt = prompt(3 + 2 * i, i % 4), .max_tokens = 16}));
        if (i % 3 == 0) {
          ASSERT_TRUE(batcher_->step().ok());
        }
      }
      run();
      for (size_t i = 0; i < answers.size(); ++i) {
        EXPECT_EQ(answers[i]->tokens, expected[i]) << i << ", " << pages << " pages, round " << round;
        ASSERT_TRUE(answers[i]->last);
        EXPECT_EQ(answers[i]->last->reason, FinishReason::kLength);
      }
      if (round == 1) {
        EXPECT_GT(batcher_->metrics().cached_prompt_tokens, 0u);
      }
    }
    if (pages == 13) {
      EXPECT_GT(batcher_->metrics().preemptions, 0u);
    }
  }
}

TEST_F(BatcherTest, SampledAnswersDependOnTheirSeedAlone) {
  SamplingParameters sampling{.temperature = 1, .repetition_penalty = 1.3f, .seed = 5};
  const auto alone = add({.prompt = prompt(9, 1), .sampling = sampling, .max_tokens = 12});
  run();
  std::vector<std::shared_ptr<Answer>> same, others;
  for (uint64_t i = 0; i < 4; ++i) {
    same.push_back(add({.prompt = prompt(9, 1), .sampling = sampling, .max_tokens = 12}));
    SamplingParameters other = sampling;
    other.seed = 100 + i;
    others.push_back(add({.prompt = prompt(9, 1), .sampling = other, .max_tokens = 12}));
  }
  run();
  for (const auto& answer : same) EXPECT_EQ(answer->tokens, alone->tokens);
  for (const auto& answer : others) EXPECT_NE(answer->tokens, alone->tokens);
}

TEST_F(BatcherTest, EndsByStopIdListenerLengthAndContext) {
  const auto all = reference(prompt(5, 2), 8);
  const size_t stop_at = static_cast<size_t>(std::find(all.begin(), all.end(), all[5]) - all.begin());
  const auto stopped = add({.prompt = prompt(5, 2), .max_tokens = 40, .stop_ids = {all[5]}});
  const auto listener = add({.prompt = prompt(5, 2), .max_tokens = 40});
  listener->stop_after = 3;
  const auto context = add({.prompt = prompt(45, 3), .max_tokens = 40});
  const auto nothing = add({.prompt = prompt(5, 2), .max_tokens = 0});
  run();
  EXPECT_EQ(stopped->tokens, std::vector<int32_t>(all.begin(), all.begin() + static_cast<int64_t>(stop_at)));
  EXPECT_EQ(stopped->last->reason, FinishReason::kStop);
  EXPECT_EQ(stopped->last->stop_id, all[5]);
  EXPECT_EQ(stopped->last->usage.generated_tokens, static_cast<int64_t>(stop_at) + 1);
  EXPECT_EQ(listener->tokens.size(), 3u);
  EXPECT_EQ(listener->last->reason, FinishReason::kStopString);
  EXPECT_EQ(context->tokens.size(), 4u) << "at positions 45, 46, 47, and one that is never fed";
  EXPECT_EQ(context->last->reason, FinishReason::kLength);
  EXPECT_TRUE(nothing->tokens.empty());
  EXPECT_EQ(nothing->last->usage.prompt_tokens, 5);
}

TEST_F(BatcherTest, MinTokensKeepsAnAnswerFromEnding) {
  const auto all = reference(prompt(5, 2), 4);
  const auto answer = add({.prompt = prompt(5, 2), .max_tokens = 12, .min_tokens = 6, .stop_ids = {all[1], 1, 2, 3}});
  run();
  EXPECT_GE(answer->tokens.size(), 6u);
  for (size_t i = 0; i < 6; ++i) EXPECT_NE(answer->tokens[i], all[1]);
}

TEST_F(BatcherTest, CancellingEndsBeforeTheNextStepAndGivesPagesBack) {
  const auto answer = add({.prompt = prompt(20, 1), .max_tokens = 20});
  const auto other = add({.prompt = prompt(6, 2), .max_tokens = 20});
  ASSERT_TRUE(batcher_->step().ok());
  batcher_->cancel(1);
  ASSERT_TRUE(answer->last);
  EXPECT_EQ(answer->last->reason, FinishReason::kCancelled);
  batcher_->cancel(1);
  batcher_->cancel(99);
  run();
  EXPECT_EQ(other->tokens, reference(prompt(6, 2), 20));
  EXPECT_EQ(batcher_->metrics().cancelled, 1u);
}

TEST_F(BatcherTest, ABrokenJobIsToldAndEndsAll) {
  const auto answer = add({.prompt = prompt(6, 2), .max_tokens = 20});
  ASSERT_TRUE(batcher_->step().ok());
  runner_->before_step = [] { return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, "lost b"); };
  const Status status = batcher_->step();
  ASSERT_FALSE(status.ok());
  EXPECT_FALSE(answer->last);
  batcher_->endAll(status.error());
  ASSERT_TRUE(answer->last);
  EXPECT_EQ(answer->last->reason, FinishReason::kError);
  EXPECT_EQ(answer->last->error->message(), "lost b");
  EXPECT_TRUE(batcher_->idle());
}

TEST_F(BatcherTest, LogprobsAreOfTheRawDistributionHoweverTheTokenIsChosen) {
  const auto tokens = prompt(6, 2);
  const uint64_t hash = FakeRunner::hashOf(tokens);
  double sum = 0;
  for (int32_t id = 0; id < 100; ++id) sum += std::exp(static_cast<double>(runner_->logit(hash, id)));
  const int32_t likeliest = runner_->next(tokens);
  const SamplingParameters ways[] = {{},
                                     {.temperature = 0.7f, .seed = 3},
                                     {.temperature = 1.5f, .top_k = 5, .seed = 3},
                                     {.temperature = 2, .top_p = 0.9f, .seed = 4},
                                     {.repetition_penalty = 1.7f, .logit_bias = {{likeliest, -50.0f}, {3, 2.5f}}},
                                     {.temperature = 1, .logit_bias = {{likeliest, -std::numeric_limits<float>::infinity()}, {3, 5.0f}}, .seed = 9}};
  for (const SamplingParameters& sampling : ways) {
    const auto answer = add({.prompt = tokens, .sampling = sampling, .max_tokens = 1, .logprobs = 4});
    run();
    ASSERT_EQ(answer->choices.size(), 1u);
    const Choice& choice = answer->choices[0];
    EXPECT_NEAR(choice.token.logprob, static_cast<double>(runner_->logit(hash, choice.token.id)) - std::log(sum), 1e-5) << choice.token.id;
    ASSERT_EQ(choice.alternatives.size(), 4u);
    EXPECT_EQ(choice.alternatives[0].id, likeliest);
    for (const ScoredToken& each : choice.alternatives) EXPECT_NEAR(each.logprob, static_cast<double>(runner_->logit(hash, each.id)) - std::log(sum), 1e-5);
    if (!sampling.logit_bias.empty()) {
      EXPECT_NE(choice.token.id, likeliest);
    }
  }
}

/// Tokens come in ascending order, each at most twice the one before; then 99.
class Ascending : public TokenConstraint {
 public:
  void allowed(std::span<uint32_t> words) override {
    std::fill(words.begin(), words.end(), 0);
    for (int32_t id = last_ + 1; id < std::min(2 * last_ + 2, 100); ++id) words[static_cast<size_t>(id / 32)] |= 1u << (id % 32);
  }
  Status accept(int32_t token) override {
    EXPECT_GT(token, last_);
    EXPECT_LT(token, 2 * last_ + 2);
    last_ = token;
    return {};
  }
  int32_t last_ = 0;
};

TEST_F(BatcherTest, AConstraintDecidesWhatMayCome) {
  for (const float temperature : {0.0f, 1.0f}) {
    const auto free = add({.prompt = prompt(6, 2), .max_tokens = 10});
    const auto answer = add({.prompt = prompt(6, 2), .sampling = {.temperature = temperature, .seed = 1}, .max_tokens = 50, .stop_ids = {99},
                             .logprobs = 1, .constraint = std::make_shared<Ascending>()});
    run();
    EXPECT_EQ(answer->last->reason, FinishReason::kStop);
    EXPECT_TRUE(std::is_sorted(answer->tokens.begin(), answer->tokens.end()));
    EXPECT_EQ(free->tokens, reference(prompt(6, 2), 10)) << "others in the batch are free";
  }
}

TEST_F(BatcherTest, AConstraintThatAllowsNothingIsAnErrorOfItsRequest) {
  struct Nothing : TokenConstraint {
    void allowed(std::span<uint32_t> words) override { std::fill(words.begin(), words.end(), 0); }
    Status accept(int32_t) override { return {}; }
  };
  const auto answer = add({.prompt = prompt(6, 2), .max_tokens = 5, .constraint = std::make_shared<Nothing>()});
  const auto other = add({.prompt = prompt(6, 3), .max_tokens = 5});
  run();
  EXPECT_EQ(answer->last->reason, FinishReason::kError);
  EXPECT_NE(answer->last->error->message().find("no token is allowed"), std::string::npos);
  EXPECT_EQ(other->last->reason, FinishReason::kLength);
}

TEST_F(BatcherTest, LogitsOfThePromptAreEachGivenOnceInOrder) {
  const auto busy = add({.prompt = prompt(6, 5), .max_tokens = 30});
  const auto answer = add({.prompt = prompt(19, 2), .max_tokens = 2, .prompt_logits = true});
  run();
  ASSERT_EQ(answer->logits.size(), 19u * 100);
  const auto tokens = prompt(19, 2);
  for (size_t p = 0; p < 19; ++p) EXPECT_EQ(answer->logits[p * 100 + 17], runner_->logit(FakeRunner::hashOf(std::span(tokens).first(p + 1)), 17));
  EXPECT_EQ(answer->tokens, reference(tokens, 2));
  EXPECT_EQ(busy->tokens, reference(prompt(6, 5), 30));
}

TEST_F(BatcherTest, RequestsThatCannotWorkAreRefusedWithNumbers) {
  const auto refused = [&](const TokenRequest& request, const std::string& words) {
    const Status status = check(request, kLimits);
    ASSERT_FALSE(status.ok()) << words;
    EXPECT_EQ(status.error().code(), ErrorCode::kInvalidInput);
    EXPECT_NE(status.error().message().find(words), std::string::npos) << status.error();
  };
  refused({.prompt = {}}, "the prompt is empty");
  refused({.prompt = std::vector<int32_t>(49, 1)}, "49 tokens, the context of this model as loaded has 48");
  refused({.prompt = {1, 2, 100}}, "token id 100 at index 2");
  refused({.prompt = {1}, .max_tokens = -1}, "max_tokens must not be negative");
  refused({.prompt = {1}, .stop_ids = {-3}}, "stop token id -3");
  refused({.prompt = {1}, .logprobs = 21}, "expected 0 to 20 alternatives, got 21");
  refused({.prompt = {1}, .priority = 101}, "priority must be in [-100, 100], got 101");
  refused({.prompt = {1}, .sampling = {.presence_penalty = 1}, .prompt_logits = true}, "logits of the prompt");
}

TEST_F(BatcherTest, WhatHappensIsCounted) {
  add({.prompt = prompt(10, 1), .max_tokens = 5});
  run();
  add({.prompt = prompt(10, 1), .max_tokens = 5});
  run();
  const auto nothing = add({.prompt = prompt(9, 2), .max_tokens = 0});
  const auto again = add({.prompt = prompt(10, 1), .max_tokens = 0});
  run();
  EXPECT_EQ(nothing->last->usage.cached_tokens, 0);
  EXPECT_EQ(again->last->usage.cached_tokens, 8);
  const Metrics& metrics = batcher_->metrics();
  EXPECT_EQ(metrics.finished, 4u);
  EXPECT_EQ(metrics.prompt_tokens, 39u);
  EXPECT_EQ(metrics.cached_prompt_tokens, 16u);
  EXPECT_EQ(metrics.generated_tokens, 10u);
  EXPECT_EQ(metrics.time_to_first_token.counts.back(), 2u);
  EXPECT_EQ(metrics.inter_token.counts.back(), 8u);
  EXPECT_EQ(metrics.pages, 24);
  EXPECT_EQ(metrics.pages_used, 0);
  EXPECT_EQ(metrics.pages_cached, 5);   // 14 positions are computed, and 9: 3 and 2 full pages
  EXPECT_EQ(metrics.steps, static_cast<uint64_t>(runner_->steps));
}

}  // namespace
}  // namespace exo::serve
