// Every unit of every chain is one thread's, and threads have equal work up to a unit.
#include "executor/runtime/shares.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace exo::runtime {
namespace {

double workOf(const std::vector<ChainWork>& chains, const std::vector<UnitRange>& shares, int thread) {
  double work = 0;
  for (size_t c = 0; c < chains.size(); ++c) {
    const UnitRange share = shares[static_cast<size_t>(thread) * chains.size() + c];
    work += static_cast<double>(share.end - share.begin) * chains[c].unit_work;
  }
  return work;
}

void expectFair(const std::vector<ChainWork>& chains, int threads) {
  const auto shares = sharesOf(chains, threads);
  double total = 0, largest_unit = 0;
  for (size_t c = 0; c < chains.size(); ++c) {
    int64_t next = 0;
    for (int thread = 0; thread < threads; ++thread) {
      const UnitRange share = shares[static_cast<size_t>(thread) * chains.size() + c];
      EXPECT_EQ(share.begin, next) << "chain " << c << ", thread " << thread << " of " << threads;
      EXPECT_LE(share.begin, share.end);
      next = share.end;
    }
    EXPECT_EQ(next, chains[c].units) << "chain " << c << " on " << threads;
    total += static_cast<double>(chains[c].units) * chains[c].unit_work;
    largest_unit = std::max(largest_unit, chains[c].unit_work);
  }
  // A border is moved by at most half a unit, and a share has two.
  for (int thread = 0; thread < threads; ++thread) EXPECT_LE(workOf(chains, shares, thread), total / threads + largest_unit * 1.000001);
}

TEST(Shares, OneChainIsCutEvenly) {
  for (int threads = 1; threads <= 9; ++threads)
    for (int64_t units = 0; units <= 40; ++units) expectFair({{units, 3.0}}, threads);
}

TEST(Shares, ChainsStandInARowByTheirWork) {
  // 32 query heads and 8 KV heads of twice the work: 48 in all, 24 each.
  const std::vector<ChainWork> heads = {{32, 1.0}, {8, 2.0}};
  const auto shares = sharesOf(heads, 2);
  EXPECT_EQ(shares[0].end, 24);
  EXPECT_EQ(shares[1].end, 0);
  EXPECT_EQ(shares[2].begin, 24);
  EXPECT_EQ(shares[3].end, 8);
  for (int threads = 1; threads <= 17; ++threads) expectFair(heads, threads);
}

TEST(Shares, ChainsOfNoUnitsOrNoWorkHarmNobody) {
  for (int threads : {1, 2, 5}) {
    expectFair({{0, 0.0}, {7, 1.0}, {0, 2.0}}, threads);
    expectFair({{3, 0.0}}, threads);
    expectFair({}, threads);
  }
}

}  // namespace
}  // namespace exo::runtime
