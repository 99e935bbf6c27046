#include "passes/planner/shares.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace exo {
namespace {

TEST(Shares, OneRankTakesAll) {
  const auto shares = balanceShares({{.fixed_s = 1, .slope_s = 2}});
  ASSERT_TRUE(shares);
  EXPECT_EQ(shares->shares, std::vector<double>{1});
  EXPECT_DOUBLE_EQ(shares->seconds, 3);
}

// Speeds 1 and 3: a quarter and three quarters, both done after 0.25 * 4 = 1 s.
TEST(Shares, InProportionToSpeed) {
  const auto shares = balanceShares({{.slope_s = 4}, {.slope_s = 4.0 / 3}});
  ASSERT_TRUE(shares);
  EXPECT_NEAR(shares->shares[0], 0.25, 1e-12);
  EXPECT_NEAR(shares->shares[1], 0.75, 1e-12);
  EXPECT_NEAR(shares->seconds, 1, 1e-12);
}

// The second may take 0.6 at most: the first does the other 0.4 in 1.6 s.
TEST(Shares, MemoryCaps) {
  const auto shares = balanceShares({{.slope_s = 4}, {.slope_s = 4.0 / 3, .cap = 0.6}});
  ASSERT_TRUE(shares);
  EXPECT_NEAR(shares->shares[0], 0.4, 1e-12);
  EXPECT_NEAR(shares->shares[1], 0.6, 1e-12);
  EXPECT_NEAR(shares->seconds, 1.6, 1e-12);
}

// Level T: (T - 1) / 2 + T / 2 = 1, so T = 1.5: the first, with 1 s of repeated work, gets 0.25.
TEST(Shares, RepeatedWorkCounts) {
  const auto shares = balanceShares({{.fixed_s = 1, .slope_s = 2}, {.fixed_s = 0, .slope_s = 2}});
  ASSERT_TRUE(shares);
  EXPECT_NEAR(shares->shares[0], 0.25, 1e-12);
  EXPECT_NEAR(shares->seconds, 1.5, 1e-12);
}

TEST(Shares, NothingToSplitIsSharedEqually) {
  const auto shares = balanceShares({{.fixed_s = 1}, {.fixed_s = 1}});
  ASSERT_TRUE(shares);
  EXPECT_NEAR(shares->shares[0], 0.5, 1e-9);
}

TEST(Shares, TooLittleRoom) {
  EXPECT_FALSE(balanceShares({{.slope_s = 1, .cap = 0.4}, {.slope_s = 1, .cap = 0.5}}));
  EXPECT_TRUE(balanceShares({{.slope_s = 1, .cap = 0.5}, {.slope_s = 1, .cap = 0.5}}));
  EXPECT_FALSE(balanceShares({{.slope_s = 1, .cap = 0}}));
}

TEST(Shares, Properties) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> uniform(0, 1);
  int found = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<RankLoad> ranks(1 + random() % 8);
    const double fixed = uniform(random);
    for (RankLoad& rank : ranks) rank = {fixed, 0.01 + uniform(random), uniform(random) < 0.5 ? 1.0 : uniform(random)};
    const auto shares = balanceShares(ranks);
    if (!shares) continue;
    ++found;
    EXPECT_NEAR(std::accumulate(shares->shares.begin(), shares->shares.end(), 0.0), 1, 1e-9);
    for (size_t i = 0; i < ranks.size(); ++i) {
      EXPECT_LE(shares->shares[i], ranks[i].cap + 1e-9);
      // All finish together, save those whose memory is full.
      const double done = ranks[i].fixed_s + shares->shares[i] * ranks[i].slope_s;
      if (shares->shares[i] < ranks[i].cap - 1e-9) { EXPECT_NEAR(done, shares->seconds, 1e-9); }
      for (size_t j = 0; j < ranks.size(); ++j)
        if (ranks[i].slope_s <= ranks[j].slope_s && ranks[i].cap >= ranks[j].cap) { EXPECT_GE(shares->shares[i], shares->shares[j] - 1e-9) << "a faster rank got less"; }
    }
  }
  EXPECT_GT(found, 1000);
}

}  // namespace
}  // namespace exo
