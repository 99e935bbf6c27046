// reduce_scatter, all_to_all and log_sum_exp_merge over every transport against plain loops, in whole worlds and subsets.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>

#include "executor/collectives/merge.h"
#include "tests/executor/collectives/worlds.h"

namespace exo::collectives {
namespace {

using namespace std::chrono_literals;
using transport::onThreads;
using transport::Wire;
using transport::World;

class Operations : public WorldTest {};
INSTANTIATE_TEST_SUITE_P(Worlds, Operations, kWorlds, worldName);

/// Columns [begin, begin + count) of a [rows, columns] block.
std::vector<float> columnsOf(const std::vector<float>& block, int64_t rows, int64_t columns, int64_t begin, int64_t count) {
  std::vector<float> out;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < count; ++c) out.push_back(block[row * columns + begin + c]);
  return out;
}

TEST_P(Operations, ReduceScatterOfUnevenColumnsHasTheBitsOfRankOrder) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  onThreads(size, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::mt19937 random(7);  // the same sizes on every rank
    for (int round = 0; round < 20; ++round) {
      const int64_t rows = random() % 9;
      const std::vector<int64_t> extents = randomExtents(random, size);
      const int64_t columns = std::accumulate(extents.begin(), extents.end(), int64_t{0});
      const int64_t begin = std::accumulate(extents.begin(), extents.begin() + rank, int64_t{0});
      std::vector<float> out(rows * extents[rank], -1);
      ASSERT_TRUE(group->reduceScatter(rows, extents, terms(rank, round, rows * columns), out, "test").ok());
      ASSERT_EQ(out, columnsOf(sumOfTerms(size, round, rows * columns), rows, columns, begin, extents[rank])) << "round " << round;
    }
  });
}

TEST_P(Operations, AllToAllOfUnevenBlocks) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  onThreads(size, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::mt19937 random(23);
    for (int round = 0; round < 20; ++round) {
      std::vector<size_t> matrix(size * size);  // bytes from row to column
      for (size_t& bytes : matrix) bytes = random() % 3 == 0 ? 0 : random() % 3000;
      const auto block = [&](int from, int to) {
        std::vector<std::byte> bytes(matrix[from * size + to]);
        for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31 + from * 7 + to * 3 + round);
        return bytes;
      };
      std::vector<size_t> bytes_to(size), bytes_from(size);
      std::vector<std::byte> in, want;
      for (int r = 0; r < size; ++r) {
        bytes_to[r] = matrix[rank * size + r];
        bytes_from[r] = matrix[r * size + rank];
        for (const std::byte byte : block(rank, r)) in.push_back(byte);
        for (const std::byte byte : block(r, rank)) want.push_back(byte);
      }
      std::vector<std::byte> out(want.size());
      ASSERT_TRUE(group->allToAll(bytes_to, bytes_from, in, out, "test").ok());
      ASSERT_EQ(out, want) << "round " << round;
    }
  });
}

/// Attention of one row over positions [begin, end) of made-up scores and values, as partials or, divided by l, as a result.
struct Partial {
  float m = -std::numeric_limits<float>::infinity(), l = 0;
  std::vector<float> o;
};

Partial attend(int64_t row, int begin, int end, int64_t d) {
  const auto score = [&](int position) { return 6 * std::sin(static_cast<float>(row * 13 + position * 7)); };
  const auto value = [&](int position, int64_t i) { return std::cos(static_cast<float>(row + position * 5 + i * 3)); };
  Partial out;
  out.o.assign(d, 0);
  for (int position = begin; position < end; ++position) out.m = std::max(out.m, score(position));
  for (int position = begin; position < end; ++position) {
    const float weight = std::exp(score(position) - out.m);
    out.l += weight;
    for (int64_t i = 0; i < d; ++i) out.o[i] += weight * value(position, i);
  }
  return out;
}

TEST_P(Operations, LogSumExpMergeIsAttentionOverAllPositionsWithTheSameBitsEverywhere) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  constexpr int64_t kRows = 37, kD = 24;
  constexpr int kPositions = 40;
  // Uneven shares; rank 1 of three or more has no position, and nobody has any of row 5.
  std::vector<int> begins = {0};
  for (int r = 1; r <= size; ++r) begins.push_back(size > 2 && r == 2 ? begins[1] : kPositions * r * r / (size * size));
  std::vector<std::vector<float>> results(size);
  onThreads(size, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::vector<float> m, l, o;
    for (int64_t row = 0; row < kRows; ++row) {
      const Partial mine = attend(row, begins[rank], row == 5 ? begins[rank] : begins[rank + 1], kD);
      m.push_back(mine.m);
      l.push_back(mine.l);
      o.insert(o.end(), mine.o.begin(), mine.o.end());
    }
    results[rank].assign(kRows * kD, -1);
    ASSERT_TRUE(group->logSumExpMerge(kRows, kD, m, l, o, results[rank], "test").ok());
    ASSERT_TRUE(group->logSumExpMerge(kRows, kD, m, l, o, o, "in place").ok());
    ASSERT_EQ(o, results[rank]);
  });
  for (int64_t row = 0; row < kRows; ++row) {
    const Partial whole = attend(row, 0, row == 5 ? 0 : kPositions, kD);
    for (int64_t i = 0; i < kD; ++i)
      ASSERT_NEAR(results[0][row * kD + i], row == 5 ? 0.0f : whole.o[i] / whole.l, 2e-6) << row << ", " << i;
  }
  for (int rank = 1; rank < size; ++rank)
    ASSERT_EQ(std::memcmp(results[rank].data(), results[0].data(), results[0].size() * sizeof(float)), 0) << "rank " << rank;
}

TEST_P(Operations, AnyMixtureInSubsetsOfTheRanks) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  onThreads(size, [&](int rank) {
    world.meshes[rank]->setHosts(hostsOf(size)[1]);
    std::mt19937 random(41);  // the same program on every rank
    for (int round = 0; round < 40; ++round) {
      std::vector<int> ranks;
      for (int r = 0; r < size; ++r)
        if (random() % 3 != 0) ranks.push_back(r);
      const size_t count = random() % 2000, kind = random() % 6;
      const auto me = std::find(ranks.begin(), ranks.end(), rank);
      if (me == ranks.end()) continue;
      Options options;
      options.algorithms.others = Thresholds::always(kAlgorithms[kind % std::size(kAlgorithms)]);
      auto made = Communicator::create(*world.meshes[rank], ranks, options);
      ASSERT_TRUE(made.ok());
      std::vector<float> want = terms(ranks[0], round, count), mine = terms(rank, round, count), out(count);
      for (size_t r = 1; r < ranks.size(); ++r) {
        const std::vector<float> more = terms(ranks[r], round, count);
        for (size_t i = 0; i < count; ++i) want[i] += more[i];
      }
      if (kind < 4) {
        ASSERT_TRUE((*made)->allReduce(mine, out, "sum").ok());
      } else if (kind == 4) {  // all to the last of the group
        std::vector<int64_t> extents(ranks.size(), 0);
        extents.back() = static_cast<int64_t>(count);
        if (rank != ranks.back()) out.clear();
        ASSERT_TRUE((*made)->reduceScatter(1, extents, mine, out, "sum").ok());
        if (rank != ranks.back()) continue;
      } else {  // everybody's to the left neighbour
        const size_t group_size = ranks.size(), at = me - ranks.begin();
        std::vector<size_t> bytes_to(group_size), bytes_from(group_size);
        bytes_to[(at + group_size - 1) % group_size] = bytes_from[(at + 1) % group_size] = count * sizeof(float);
        ASSERT_TRUE((*made)->allToAll(bytes_to, bytes_from, std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(out)), "shift").ok());
        want = terms(ranks[(at + 1) % group_size], round, count);
      }
      ASSERT_EQ(out, want) << "round " << round << ", kind " << kind;
    }
  });
}

TEST(Operations, RefuseWhatDoesNotFit) {
  World world(2, Wire::kSimulated, kRing);
  onThreads(2, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::vector<float> a(10), b(11);
    std::vector<std::byte> bytes(10), more(10);
    const auto refused = [](const Status& status) { return !status.ok() && status.error().code() == ErrorCode::kInvalidInput; };
    using Extents = std::vector<int64_t>;
    using Sizes = std::vector<size_t>;
    EXPECT_TRUE(refused(group->reduceScatter(1, Extents{10}, a, b, "x")));
    EXPECT_TRUE(refused(group->reduceScatter(1, Extents{-1, 11}, a, b, "x")));
    EXPECT_TRUE(refused(group->reduceScatter(2, Extents{5, 5}, a, b, "x")));
    EXPECT_TRUE(refused(group->reduceScatter(1, Extents{5, 5}, a, std::span(a).first(5), "x")));
    EXPECT_TRUE(refused(group->allToAll(Sizes{10}, Sizes{5, 5}, bytes, more, "x")));
    EXPECT_TRUE(refused(group->allToAll(Sizes{5, 6}, Sizes{5, 5}, bytes, more, "x")));
    EXPECT_TRUE(refused(group->allToAll(Sizes{5, 4}, Sizes{5, 5}, bytes, more, "x")));
    EXPECT_TRUE(refused(group->allToAll(Sizes{~size_t{0}, 11}, Sizes{5, 5}, bytes, more, "x")));
    EXPECT_TRUE(refused(group->allToAll(Sizes{3, 7}, Sizes{7, 3}, bytes, more, "x")));  // different sizes stay on the rank
    EXPECT_TRUE(refused(group->allToAll(Sizes{5, 5}, Sizes{5, 5}, bytes, bytes, "x")));
    EXPECT_TRUE(refused(group->logSumExpMerge(2, 5, std::span(a).first(2), std::span(a).first(1), a, a, "x")));
    EXPECT_TRUE(refused(group->logSumExpMerge(2, 6, std::span(a).first(2), std::span(a).first(2), a, a, "x")));
    EXPECT_TRUE(refused(group->logSumExpMerge(-2, -5, a, a, a, a, "x")));
    EXPECT_TRUE(group->barrier("still in step").ok());
  });
}

TEST(Operations, AllToAllWithOtherExpectationsNamesBothSizes) {
  World world(2, Wire::kSimulated, kRing);
  std::vector<Status> status(2);
  onThreads(2, [&](int rank) {
    Options options;
    options.timeout = 20s;
    const std::vector<std::byte> in(40);
    std::vector<std::byte> out(30);
    std::vector<size_t> bytes_to(2), bytes_from(2);
    bytes_to[1 - rank] = 40;
    bytes_from[1 - rank] = 30;
    status[rank] = communicator(*world.meshes[rank], options)->allToAll(bytes_to, bytes_from, in, out, "experts");
  });
  ASSERT_FALSE(status[0].ok());
  EXPECT_EQ(status[0].error().code(), ErrorCode::kMismatch);
  EXPECT_EQ(status[0].error().message(),
            "all_to_all \"experts\" #1: expected all_to_all #1 of 30 B from rank 1 (node1), got all_to_all #1 of 40 B");
}

/// Rank 2 of 4 dies in some call, and all notice, long before the timeout.
TEST(Operations, DeathIsNoticedByAll) {
  const std::function<Status(Communicator&)> calls[] = {
      [](Communicator& group) {
        std::vector<float> in(2000), out(500);
        return group.reduceScatter(5, std::vector<int64_t>(4, 100), in, out, "x");
      },
      [](Communicator& group) {
        const std::vector<size_t> sizes(4, 1000);
        std::vector<std::byte> in(4000), out(4000);
        return group.allToAll(sizes, sizes, in, out, "x");
      },
      [](Communicator& group) {
        std::vector<float> m(100), l(100, 1), o(1000);
        return group.logSumExpMerge(100, 10, m, l, o, o, "x");
      },
      [](Communicator& group) {
        std::vector<float> sum(3000);
        return group.allReduce(sum, sum, "x");
      }};
  for (const auto& call : calls) {
    World world(4, Wire::kSimulated, kRing);
    std::vector<Status> status(4);
    onThreads(4, [&](int rank) {
      Options options;
      options.timeout = 10s;
      options.algorithms.others = Thresholds::always(Algorithm::kChain);
      const auto group = communicator(*world.meshes[rank], options);
      for (int round = 0; round < 1000 && status[rank].ok(); ++round) {
        if (rank == 2 && round == 20) world.network->kill(2);
        status[rank] = call(*group);
      }
      world.network->kill(rank);  // as a node does that gives up: of the chain, only neighbours see rank 2 itself go
    });
    for (const Status& each : status) {
      ASSERT_FALSE(each.ok());
      EXPECT_EQ(each.error().code(), ErrorCode::kPeerLost);
    }
  }
}

TEST(Merge, ExpIsRightToOneUlp) {
  for (float x = 0; x > -110; x -= 0.00371f) {
    const double want = std::exp(static_cast<double>(x));
    const float ulp = std::nextafter(static_cast<float>(want), 2.0f) - static_cast<float>(want);
    ASSERT_NEAR(expOfNegative(x), want, ulp) << x;
  }
  EXPECT_EQ(expOfNegative(0), 1.0f);
  EXPECT_EQ(expOfNegative(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_TRUE(std::isnan(expOfNegative(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Merge, LogSumExpSpreadsNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), none = -std::numeric_limits<float>::infinity();
  // Two ranks, 1 row, d = 1: m, l, o.
  for (const float other : {none, 1.0f}) {
    const float partials[2][3] = {{nan, 1, 1}, {other, 1, 1}};
    float out = 0;
    mergeLogSumExp(std::as_bytes(std::span(partials)), 2, 1, 1, std::span(&out, 1));
    EXPECT_TRUE(std::isnan(out));
  }
}

}  // namespace
}  // namespace exo::collectives
