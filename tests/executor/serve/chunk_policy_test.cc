#include "executor/serve/chunk_policy.h"

#include <gtest/gtest.h>

namespace exo::serve {
namespace {

/// A machine where a step costs `base` and every row `row` seconds.
double took(double base, double row, int64_t tokens) { return base + row * static_cast<double>(tokens); }

TEST(ChunkPolicyTest, StepsWithPromptsTakeAtMostTwiceAsLong) {
  for (const double row : {0.0001, 0.001, 0.01}) {
    ChunkPolicy policy(256);
    for (int i = 0; i < 10; ++i) policy.observe(2, 0, took(0.02, row, 2));
    for (int i = 0; i < 30; ++i) policy.observe(2, policy.promptTokens(), took(0.02, row, 2 + policy.promptTokens()));
    EXPECT_LE(took(0.02, row, 2 + policy.promptTokens()), 1.75 * took(0.02, row, 2)) << row;
    if (policy.promptTokens() < 256) {
      EXPECT_GE(took(0.02, row, 3 + policy.promptTokens()), 1.5 * took(0.02, row, 2)) << row;
    }
  }
}

TEST(ChunkPolicyTest, PromptsNeverStandStillNorExceedAStep) {
  ChunkPolicy policy(64);
  EXPECT_GT(policy.promptTokens(), 0);
  policy.observe(1, 0, 0.001);
  for (int i = 0; i < 50; ++i) policy.observe(1, 1, 1.0);
  EXPECT_EQ(policy.promptTokens(), 1);
  ChunkPolicy fast(64);
  fast.observe(1, 0, 1.0);
  for (int i = 0; i < 50; ++i) fast.observe(1, 64, 1.0);
  EXPECT_EQ(fast.promptTokens(), 64);
}

}  // namespace
}  // namespace exo::serve
