#include "executor/serve/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <numeric>

namespace exo::serve {
namespace {

constexpr runtime::StepLimits kLimits{.max_tokens = 8, .max_rows = 8, .max_context = 32, .page_tokens = 4, .num_pages = 16, .vocab_size = 1000};

class SchedulerTest : public ::testing::Test {
 protected:
  Scheduler& start(runtime::StepLimits limits) { return scheduler_.emplace(limits); }

  /// A prompt of `length` tokens first, first + 1, ... that arrives now.
  Sequence& arrive(int64_t length, int32_t first, int64_t earlier = 0) {
    Sequence& sequence = sequences_.emplace_back();
    const auto arrival = static_cast<int64_t>(sequences_.size());
    sequence.turn = {arrival - earlier, static_cast<uint64_t>(arrival)};
    sequence.tokens.resize(static_cast<size_t>(length));
    std::iota(sequence.tokens.begin(), sequence.tokens.end(), first);
    sequence.prompt_length = length;
    scheduler_->add(&sequence);
    return sequence;
  }
  /// One step, in which every part with rows is given a token.
  std::vector<std::pair<Sequence*, int64_t>> step(int64_t prompt_tokens = 8) {
    const StepPlan plan = scheduler_->plan(prompt_tokens);
    int64_t tokens = 0, rows = 0;
    std::vector<std::pair<Sequence*, int64_t>> parts;
    for (const StepPart& part : plan.parts) {
      tokens += part.tokens;
      rows += part.rows;
      parts.emplace_back(part.sequence, part.tokens);
      EXPECT_GE(static_cast<int64_t>(part.sequence->pages.size()) * kLimits.page_tokens, part.sequence->computed + part.tokens);
    }
    EXPECT_LE(tokens, kLimits.max_tokens);
    EXPECT_LE(rows, kLimits.max_rows);
    scheduler_->done(plan);
    for (const StepPart& part : plan.parts)
      if (part.rows > 0 && part.sequence->pending() == 0) part.sequence->tokens.push_back(next_token_++);
    failed_ = plan.failed;
    return parts;
  }
  using Parts = std::vector<std::pair<Sequence*, int64_t>>;

  std::deque<Sequence> sequences_;
  std::optional<Scheduler> scheduler_;
  std::vector<std::pair<Sequence*, Error>> failed_;
  int32_t next_token_ = 500;
};

TEST_F(SchedulerTest, APromptGoesInChunksThenTokenByToken) {
  start(kLimits);
  Sequence& a = arrive(19, 0);
  EXPECT_EQ(step(), (Parts{{&a, 8}}));
  EXPECT_EQ(step(), (Parts{{&a, 8}}));
  EXPECT_EQ(step(), (Parts{{&a, 3}}));
  EXPECT_TRUE(a.decoding());
  EXPECT_EQ(step(), (Parts{{&a, 1}}));
  EXPECT_EQ(a.tokens.size(), 21u);
}

TEST_F(SchedulerTest, ThoseWhoDecodeGoFirstAndPromptsGetTheirPart) {
  start(kLimits);
  Sequence& a = arrive(3, 0);
  step();
  Sequence& b = arrive(12, 100);
  EXPECT_EQ(step(2), (Parts{{&a, 1}, {&b, 2}}));
  EXPECT_EQ(step(5), (Parts{{&a, 1}, {&b, 5}}));
  EXPECT_EQ(step(100), (Parts{{&a, 1}, {&b, 5}})) << "the rest of the prompt";
  EXPECT_EQ(step(), (Parts{{&a, 1}, {&b, 1}}));
}

TEST_F(SchedulerTest, PromptsGoByTurnAndShareAStep) {
  start(kLimits);
  Sequence& a = arrive(6, 0);
  Sequence& b = arrive(6, 100);
  Sequence& urgent = arrive(3, 200, 10);
  EXPECT_EQ(step(), (Parts{{&urgent, 3}, {&a, 5}}));
  EXPECT_EQ(step(4), (Parts{{&urgent, 1}, {&a, 1}, {&b, 3}}));
}

TEST_F(SchedulerTest, ACommonBeginningIsTakenFromAnEarlierSequence) {
  start(kLimits);
  Sequence& a = arrive(8, 0);
  step();
  scheduler_->remove(&a);
  EXPECT_EQ(scheduler_->pages().unused(), 2);
  Sequence& b = arrive(11, 0);
  EXPECT_EQ(step(), (Parts{{&b, 3}}));
  EXPECT_EQ(b.cached, 8);
  // The same prompt again: its last token is computed all the same, for its logits.
  Sequence& c = arrive(8, 0);
  EXPECT_EQ(step(), (Parts{{&b, 1}, {&c, 4}}));
  EXPECT_EQ(c.cached, 4);
  EXPECT_EQ(c.pages[0], b.pages[0]);
  EXPECT_EQ(c.pages[1], b.pages[1]) << "computed twice, kept once";
}

TEST_F(SchedulerTest, APromptThatWaitsTakesWhatAnotherComputesMeanwhile) {
  start(kLimits);
  Sequence& a = arrive(16, 0);
  Sequence& b = arrive(17, 0);
  EXPECT_EQ(step(), (Parts{{&a, 8}}));
  EXPECT_EQ(step(), (Parts{{&a, 8}}));
  EXPECT_EQ(step(), (Parts{{&a, 1}, {&b, 1}}));
  EXPECT_EQ(b.cached, 16);
}

TEST_F(SchedulerTest, WhoDoesNotFitWaitsAndNobodyOvertakes) {
  runtime::StepLimits limits = kLimits;
  limits.num_pages = 4;
  start(limits);
  Sequence& a = arrive(8, 0);
  step();
  Sequence& large = arrive(12, 100);
  Sequence& small = arrive(1, 200);
  EXPECT_EQ(step(), (Parts{{&a, 1}}));
  EXPECT_EQ(scheduler_->numWaiting(), 2);
  scheduler_->remove(&a);
  EXPECT_EQ(step(), (Parts{{&large, 8}}));
  EXPECT_EQ(step(), (Parts{{&large, 4}}));
  EXPECT_FALSE(small.running);
}

TEST_F(SchedulerTest, WithoutPagesTheLastGivesItsOwnUpAndComesBack) {
  runtime::StepLimits limits = kLimits;
  limits.num_pages = 4;
  start(limits);
  Sequence& a = arrive(4, 0);
  Sequence& b = arrive(3, 100);   // pages: a 1, b 1, and a reserve of one for each that runs
  step();
  while (scheduler_->preemptions() == 0) step();
  EXPECT_TRUE(a.running);
  EXPECT_FALSE(b.running);
  EXPECT_EQ(b.computed, 0);
  EXPECT_TRUE(b.pages.empty());
  const auto tokens = b.tokens;
  scheduler_->remove(&a);
  while (!b.decoding()) step();
  EXPECT_EQ(std::vector<int32_t>(b.tokens.begin(), b.tokens.begin() + static_cast<int64_t>(tokens.size())), tokens);
  EXPECT_GT(b.tokens.size(), tokens.size());
}

TEST_F(SchedulerTest, WhatNeverFitsFailsWithNumbers) {
  runtime::StepLimits limits = kLimits;
  limits.num_pages = 2;
  start(limits);
  Sequence& a = arrive(9, 0);
  EXPECT_TRUE(step().empty());
  ASSERT_EQ(failed_.size(), 1u);
  EXPECT_EQ(failed_[0].first, &a);
  EXPECT_EQ(failed_[0].second.code(), ErrorCode::kDoesNotFit);
  EXPECT_NE(failed_[0].second.message().find("9 positions need 3 pages of 4, there are 2"), std::string::npos) << failed_[0].second;
  // And found while it grows.
  Sequence& b = arrive(7, 50);
  step();
  step();
  EXPECT_TRUE(failed_.empty());
  EXPECT_TRUE(step().empty());
  ASSERT_EQ(failed_.size(), 1u);
  EXPECT_EQ(failed_[0].first, &b);
  EXPECT_EQ(scheduler_->pages().used(), 0);
}

TEST_F(SchedulerTest, MoreThanAStepHasRoomForWait) {
  for (const bool rows : {true, false}) {
    runtime::StepLimits limits = kLimits;
    (rows ? limits.max_rows : limits.max_tokens) = 2;
    start(limits);
    Sequence& a = arrive(2, 0);
    Sequence& b = arrive(2, 100);
    Sequence& c = arrive(2, 200);
    for (int i = 0; i < 6; ++i) step();
    EXPECT_GE(a.tokens.size(), 5u);
    EXPECT_GE(b.tokens.size(), 5u);
    EXPECT_FALSE(c.running);
    scheduler_->remove(&b);
    for (int i = 0; i < 3; ++i) step();
    EXPECT_GE(c.tokens.size(), 4u);
    scheduler_->remove(&a);
    scheduler_->remove(&c);
  }
}

TEST_F(SchedulerTest, LogitsOfAllPositionsAreComputedWhateverIsCached) {
  start(kLimits);
  Sequence& a = arrive(8, 0);
  step();
  scheduler_->remove(&a);
  Sequence& b = sequences_.emplace_back();
  b.turn = {9, 9};
  b.tokens.assign(a.tokens.begin(), a.tokens.begin() + 8);
  b.prompt_length = 8;
  b.all_rows = true;
  scheduler_->add(&b);
  const StepPlan plan = scheduler_->plan(8);
  ASSERT_EQ(plan.parts.size(), 1u);
  EXPECT_EQ(plan.parts[0].tokens, 8);
  EXPECT_EQ(plan.parts[0].rows, 8);
  scheduler_->done(plan);
}

/// Whatever comes, pages are never lost and everyone ends.
TEST_F(SchedulerTest, RandomLoadEndsAndGivesEveryPageBack) {
  runtime::StepLimits limits = kLimits;
  limits.num_pages = 9;
  start(limits);
  uint32_t random = 7;
  const auto draw = [&](uint32_t below) { return (random = random * 1664525 + 1013904223) / 65536 % below; };
  std::vector<Sequence*> live;
  int ended = 0;
  for (int i = 0; i < 3000; ++i) {
    if (i < 2000 && live.size() < 6 && draw(3) == 0) live.push_back(&arrive(1 + draw(20), static_cast<int32_t>(10 * draw(3))));
    const Parts parts = step(1 + draw(8));
    EXPECT_TRUE(live.empty() || !parts.empty()) << "somebody always runs";
    std::erase_if(live, [&](Sequence* sequence) {
      if (sequence->pending() > 1 || static_cast<int64_t>(sequence->tokens.size()) < sequence->prompt_length + 8) return draw(200) == 0 && (scheduler_->remove(sequence), true);
      scheduler_->remove(sequence);
      return ++ended > 0;
    });
  }
  EXPECT_TRUE(live.empty());
  EXPECT_GT(ended, 100);
  EXPECT_GT(scheduler_->preemptions(), 0u);
  EXPECT_EQ(scheduler_->pages().available(), 9);
}

}  // namespace
}  // namespace exo::serve
