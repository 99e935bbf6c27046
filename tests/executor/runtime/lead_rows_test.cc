// Every row is made once, and before anybody goes on behind its block; also by more threads than processors.
#include "executor/runtime/lead_rows.h"

#include <gtest/gtest.h>

#include <vector>

#include "executor/runtime/threads.h"

namespace exo::runtime {
namespace {

constexpr int64_t kBlock = 16, kMostRows = 100;

/// Rounds of all threads over `rows` rows; returns how often a row was made more or less than once, or read before it was made.
int64_t faults(int threads, int64_t rows) {
  auto pool = ThreadPool::create({.threads = threads});
  EXPECT_TRUE(pool.ok()) << pool.error();
  LeadRows lead(kMostRows, kBlock, threads);
  std::vector<int> made(static_cast<size_t>(rows));   // not atomic: LeadRows orders it
  std::atomic<int64_t> wrong{0};
  constexpr int kRounds = 50;
  lead.begin(rows);
  (*pool)->run([&](int thread) {
    for (int round = 1; round <= kRounds; ++round) {
      for (int64_t b = 0; b < lead.numBlocks(); ++b) {
        const int64_t block = (lead.firstBlock(thread) + b) % lead.numBlocks();
        lead.finish(block, [&](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row) ++made[static_cast<size_t>(row)];
        });
        const auto [first, last] = lead.rowsOf(block);
        for (int64_t row = first; row < last; ++row) wrong += made[static_cast<size_t>(row)] != round;
      }
      (*pool)->barrier(thread, [&] { lead.begin(rows); });
    }
  });
  return wrong;
}

TEST(LeadRows, EveryRowIsMadeOnceAndBeforeItIsUsed) {
  for (const int threads : {1, 2, 3, 8})
    for (const int64_t rows : {1, 2, 15, 16, 17, 64, 100}) EXPECT_EQ(faults(threads, rows), 0) << threads << " threads, " << rows << " rows";
}

TEST(LeadRows, BlocksCoverTheRows) {
  LeadRows lead(kMostRows, kBlock, 3);
  lead.begin(50);
  ASSERT_EQ(lead.numBlocks(), 4);
  EXPECT_EQ(lead.rowsOf(0).begin, 0);
  for (int64_t block = 1; block < 4; ++block) EXPECT_EQ(lead.rowsOf(block).begin, lead.rowsOf(block - 1).end);
  EXPECT_EQ(lead.rowsOf(3).end, 50);
  EXPECT_EQ(lead.firstBlock(0), 0);
  EXPECT_LT(lead.firstBlock(2), 4);
  lead.begin(0);
  EXPECT_EQ(lead.numBlocks(), 0);
}

}  // namespace
}  // namespace exo::runtime
