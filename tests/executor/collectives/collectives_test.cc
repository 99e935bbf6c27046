// Collectives over every transport against plain loops, and what they say when something is wrong.
#include "executor/collectives/collectives.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include "executor/collectives/merge.h"
#include "tests/executor/collectives/worlds.h"

namespace exo::collectives {
namespace {

using namespace std::chrono_literals;
using transport::Mesh;
using transport::onThreads;
using transport::Wire;
using transport::World;
using Clock = std::chrono::steady_clock;

class Collective : public WorldTest {};
INSTANTIATE_TEST_SUITE_P(Worlds, Collective, kWorlds, worldName);

TEST_P(Collective, AllReduceHasTheBitsOfRankOrderByAnyAlgorithm) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  // 112 floats are one chunk; 448 the ring.
  const size_t counts[] = {0, 1, 2, 7, 15, 16, 17, 111, 112, 113, 447, 448, 449, 1000, 4096, 20'001};
  std::vector<std::pair<Algorithm, std::vector<int>>> forms;  // with hosts
  for (const Algorithm algorithm : {Algorithm::kOneShot, Algorithm::kTwoShot, Algorithm::kChain}) forms.push_back({algorithm, everyone(size)});
  for (const std::vector<int>& hosts : hostsOf(size)) forms.push_back({Algorithm::kHierarchical, hosts});
  for (const auto& [algorithm, hosts] : forms) {
    onThreads(size, [&, algorithm = algorithm, &hosts = hosts](int rank) {
      Options options;
      options.algorithms.others = Thresholds::always(algorithm);
      world.meshes[rank]->setHosts(hosts);
      const auto group = communicator(*world.meshes[rank], options);
      int round = 0;
      for (size_t count : counts) {
        const std::vector<float> in = terms(rank, ++round, count);
        std::vector<float> out(count, -1), in_place = in;
        ASSERT_TRUE(group->allReduce(in, out, "test").ok());
        ASSERT_TRUE(group->allReduce(in_place, in_place, "in place").ok());
        const std::vector<float> want = sumOfTerms(size, round, count);
        ASSERT_TRUE(count == 0 || std::memcmp(out.data(), want.data(), count * sizeof(float)) == 0) << count << " floats";
        ASSERT_TRUE(count == 0 || std::memcmp(in_place.data(), want.data(), count * sizeof(float)) == 0) << count << " floats";
      }
    });
  }
}

TEST_P(Collective, AllGatherOfUnevenColumns) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  onThreads(size, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::mt19937 random(99);  // the same sizes on every rank
    for (int round = 0; round < 30; ++round) {
      const int64_t rows = random() % 9;
      std::vector<int64_t> extents(size);
      for (int64_t& extent : extents) extent = random() % 3 == 0 ? 0 : random() % 150;
      std::vector<float> want(rows * std::accumulate(extents.begin(), extents.end(), int64_t{0}));
      const int64_t columns = std::accumulate(extents.begin(), extents.end(), int64_t{0});
      int64_t begin = 0;
      std::vector<float> mine;
      for (int r = 0; r < size; ++r) {
        const std::vector<float> part = terms(r, round, rows * extents[r]);
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t c = 0; c < extents[r]; ++c) want[row * columns + begin + c] = part[row * extents[r] + c];
        begin += extents[r];
        if (r == rank) mine = part;
      }
      std::vector<float> out(want.size(), -1);
      ASSERT_TRUE(group->allGather(rows, extents, mine, out, "test").ok());
      ASSERT_EQ(out, want) << "round " << round;
    }
  });
}

TEST_P(Collective, TopKMergeIsTheTopKOfAll) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  constexpr int64_t kRows = 5, kBest = 40;
  // Row by row all candidates of all ranks: few distinct values, so that ties decide; some ranks have few.
  using Pair = std::pair<float, int32_t>;
  const auto before = [](const Pair& a, const Pair& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; };
  std::mt19937 random(3);
  std::vector<std::vector<std::vector<Pair>>> lists(size, std::vector<std::vector<Pair>>(kRows));
  std::vector<std::vector<Pair>> want(kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    int32_t id = 0;
    for (int r = 0; r < size; ++r) {
      const size_t have = random() % (kBest + 1);
      for (size_t i = 0; i < have; ++i) lists[r][row].push_back({static_cast<float>(random() % 5), id++});
      std::sort(lists[r][row].begin(), lists[r][row].end(), before);
      want[row].insert(want[row].end(), lists[r][row].begin(), lists[r][row].end());
      lists[r][row].resize(kBest, {0.0f, -1});
    }
    std::sort(want[row].begin(), want[row].end(), before);
    want[row].resize(kBest, {-std::numeric_limits<float>::infinity(), -1});
  }
  onThreads(size, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::vector<float> values;
    std::vector<int32_t> ids;
    for (int64_t row = 0; row < kRows; ++row)
      for (const auto& [value, id] : lists[rank][row]) {
        values.push_back(value);
        ids.push_back(id);
      }
    // In place.
    ASSERT_TRUE(group->topKMerge(kRows, kBest, values, ids, values, ids, "test").ok());
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t i = 0; i < kBest; ++i) {
        ASSERT_EQ(ids[row * kBest + i], want[row][i].second) << row << ", " << i;
        ASSERT_EQ(values[row * kBest + i], want[row][i].first) << row << ", " << i;
      }
  });
}

TEST_P(Collective, SendRecvBroadcastBarrierAndAllElseInAnyMixture) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  onThreads(size, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::mt19937 random(17);  // the same program on every rank
    for (int round = 0; round < 120; ++round) {
      const int root = static_cast<int>(random() % size), kind = static_cast<int>(random() % 4);
      const size_t bytes = random() % 3 == 0 ? random() % 4 : random() % 5000;
      std::vector<std::byte> want(bytes), got(bytes);
      for (size_t i = 0; i < bytes; ++i) want[i] = static_cast<std::byte>(round * 31 + i);
      if (kind == 0) {  // one to some
        std::vector<int> receivers;
        for (int r = 0; r < size; ++r)
          if (r != root && (random() % 2 == 0)) receivers.push_back(r);
        if (rank == root) {
          ASSERT_TRUE(group->send(receivers, want, "send").ok());
        }
        if (std::find(receivers.begin(), receivers.end(), rank) == receivers.end()) continue;
        ASSERT_TRUE(group->recv(root, got, "recv").ok());
        ASSERT_EQ(got, want);
      } else if (kind == 1) {
        if (rank == root) got = want;
        ASSERT_TRUE(group->broadcast(root, got, "broadcast").ok());
        ASSERT_EQ(got, want);
      } else if (kind == 2) {
        ASSERT_TRUE(group->barrier("barrier").ok());
      } else {
        std::vector<float> sum = terms(rank, round, bytes / 4);
        ASSERT_TRUE(group->allReduce(sum, sum, "sum").ok());
        ASSERT_EQ(sum, sumOfTerms(size, round, bytes / 4));
      }
    }
  });
}

TEST(Barrier, NobodyLeavesBeforeTheLastComes) {
  World world(4, Wire::kShm, kRing);
  std::atomic<int> came{0};
  onThreads(4, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::this_thread::sleep_for(rank * 20ms);
    ++came;
    ASSERT_TRUE(group->barrier("barrier").ok());
    EXPECT_EQ(came, 4);
  });
}

TEST(Groups, OfOneMeshShareItsLinks) {
  World world(4, Wire::kTcp, kRing);
  onThreads(4, [&](int rank) {
    Mesh& mesh = *world.meshes[rank];
    const auto all = communicator(mesh);
    auto pair = Communicator::create(mesh, rank < 2 ? std::vector{0, 1} : std::vector{2, 3}, {});
    ASSERT_TRUE(pair.ok());
    EXPECT_EQ((*pair)->size(), 2);
    EXPECT_EQ((*pair)->index(), rank % 2);
    for (int round = 0; round < 20; ++round) {
      std::vector<float> value = {static_cast<float>(rank)};
      ASSERT_TRUE((*pair)->allReduce(value, value, "pair").ok());
      EXPECT_EQ(value[0], rank < 2 ? 1 : 5);
      ASSERT_TRUE(all->allReduce(value, value, "all").ok());
      EXPECT_EQ(value[0], 12);  // 1 + 1 + 5 + 5
    }
  });
}

TEST(Groups, ImpossibleOnesAreRefused) {
  World world(3, Wire::kSimulated, kRing);
  const auto refused = [&](std::vector<int> group, const char* message) {
    const auto made = Communicator::create(*world.meshes[0], group, {});
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.error().message().find(message), std::string::npos) << made.error().message();
  };
  refused({1, 0}, "ascending");
  refused({0, 0, 1}, "ascending");
  refused({1, 2}, "rank 0 is not in the group");
  refused({0, 7}, "no link to rank 7");
  refused({-1, 0}, "no link to rank -1");
}

TEST(Arguments, ThatDoNotFitAreRefusedAndHarmNothing) {
  World world(2, Wire::kSimulated, kRing);
  onThreads(2, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::vector<float> a(10), b(11);
    std::vector<int32_t> ids(10);
    const auto refused = [](const Status& status) { return !status.ok() && status.error().code() == ErrorCode::kInvalidInput; };
    EXPECT_TRUE(refused(group->allReduce(a, b, "x")));
    EXPECT_TRUE(refused(group->allReduce(std::span(b).first(10), std::span(b).last(10), "x")));
    EXPECT_TRUE(refused(group->allGather(1, std::vector<int64_t>{5}, a, b, "x")));
    EXPECT_TRUE(refused(group->allGather(1, std::vector<int64_t>{-5, 16}, a, b, "x")));
    EXPECT_TRUE(refused(group->allGather(-1, std::vector<int64_t>{5, 6}, a, b, "x")));
    EXPECT_TRUE(refused(group->allGather(int64_t{1} << 62, std::vector<int64_t>{4, 4}, a, b, "x")));
    EXPECT_TRUE(refused(group->allGather(1, std::vector<int64_t>{10, 1}, a, a, "x")));
    EXPECT_TRUE(refused(group->topKMerge(2, 6, a, ids, a, ids, "x")));
    EXPECT_TRUE(refused(group->topKMerge(-2, -5, a, ids, a, ids, "x")));
    const int myself[] = {rank}, twice[] = {1 - rank, 1 - rank};
    EXPECT_TRUE(refused(group->send(myself, {}, "x")));
    EXPECT_TRUE(refused(group->send(twice, {}, "x")));
    EXPECT_TRUE(refused(group->recv(2, {}, "x")));
    EXPECT_TRUE(refused(group->broadcast(5, {}, "x")));
    EXPECT_TRUE(group->barrier("still in step").ok());
  });
}

TEST(Mismatch, BothSidesAreNamed) {
  for (Wire wire : {Wire::kShm, Wire::kTcp, Wire::kSimulated}) {
    World world(2, wire, kRing);
    std::vector<Status> status(2);
    onThreads(2, [&](int rank) {
      Options options;
      options.timeout = 20s;
      const auto group = communicator(*world.meshes[rank], options);
      ASSERT_TRUE(group->barrier("in step").ok());
      std::vector<float> sum(2048, 1.0f);
      const int peers[] = {0};
      status[rank] = rank == 0 ? group->allReduce(sum, sum, "layers.0.o_proj") : group->send(peers, std::as_bytes(std::span(sum)).first(64), "x");
      if (rank != 0) return;
      EXPECT_EQ(sum, std::vector<float>(2048, 1.0f)) << "the data was touched";
      // Out of step for good.
      EXPECT_EQ(group->barrier("later").error().message(), status[0].error().message());
    });
    ASSERT_FALSE(status[0].ok());
    EXPECT_EQ(status[0].error().code(), ErrorCode::kMismatch);
    EXPECT_EQ(status[0].error().message(),
              "all_reduce \"layers.0.o_proj\" #2: expected all_reduce #2 of 8192 B from rank 1 (node1), got send #1 of 64 B");
  }
}

TEST(Mismatch, OfSizesAndGroups) {
  World world(3, Wire::kSimulated, kRing);
  std::vector<Status> status(3);
  onThreads(3, [&](int rank) {
    Options options;
    options.timeout = 500ms;
    const auto all = communicator(*world.meshes[rank], options);
    std::vector<float> sum(rank == 0 ? 100 : 99);
    status[rank] = all->allReduce(sum, sum, "x");
  });
  ASSERT_FALSE(status[0].ok());
  EXPECT_NE(status[0].error().message().find("of 400 B from rank"), std::string::npos) << status[0].error().message();
  EXPECT_NE(status[0].error().message().find("of 396 B"), std::string::npos) << status[0].error().message();

  World other(3, Wire::kSimulated, kRing);
  onThreads(3, [&](int rank) {
    Options options;
    options.timeout = 500ms;
    auto group = Communicator::create(*other.meshes[rank], rank == 0 ? std::vector{0, 1} : std::vector{0, 1, 2}, options);
    std::vector<float> sum(10);
    status[rank] = (*group)->allReduce(sum, sum, "x");
  });
  ASSERT_FALSE(status[0].ok());
  EXPECT_NE(status[0].error().message().find("another group of ranks"), std::string::npos) << status[0].error().message();
}

TEST(Timeout, NamesOperationPeerAndBytes) {
  World world(3, Wire::kTcp, kRing);
  Status status;
  onThreads(3, [&](int rank) {
    Options options;
    options.timeout = 1000ms;
    const auto group = communicator(*world.meshes[rank], options);
    if (rank == 2) return;  // never calls
    std::vector<float> sum(8);
    const auto begin = Clock::now();
    const Status mine = group->allReduce(sum, sum, "layers.3.down_proj");
    EXPECT_LT(Clock::now() - begin, 5s);
    if (rank == 0) status = mine;
  });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
  EXPECT_EQ(status.error().scope(), ErrorScope::kLink);
  EXPECT_EQ(status.error().message(),
            "all_reduce \"layers.3.down_proj\" #1: after 1000 ms rank 2 (node2) has delivered 0 of 32 B");
}

TEST(Timeout, OfASenderWhosePeerTakesNothing) {
  World world(2, Wire::kShm, kRing);
  Options options;
  options.timeout = 200ms;
  const auto group = communicator(*world.meshes[0], options);
  const int peers[] = {1};
  const std::vector<std::byte> bytes(10'000);
  const Status status = group->send(peers, bytes, "stage 1");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
  EXPECT_NE(status.error().message().find("rank 1 (node1) has taken 1792 of 10000 B"), std::string::npos) << status.error().message();
}

TEST(Cancel, StopsAWaitAtOnce) {
  for (Wire wire : {Wire::kShm, Wire::kTcp, Wire::kSimulated}) {
    std::atomic<bool> cancel{false};
    World world(2, wire, kRing, &cancel);
    std::thread canceller([&] {
      std::this_thread::sleep_for(100ms);
      cancel = true;
    });
    const auto begin = Clock::now();
    const Status status = communicator(*world.meshes[0])->barrier("never");
    EXPECT_LT(Clock::now() - begin, 1s);
    canceller.join();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), ErrorCode::kCancelled);
  }
}

TEST(Death, OfASimulatedRankIsNoticedByAll) {
  World world(4, Wire::kSimulated, kRing);
  std::atomic<int> rounds{0};
  std::vector<Status> status(4);
  onThreads(4, [&](int rank) {
    const auto group = communicator(*world.meshes[rank]);
    std::vector<float> sum(1000, 1.0f);
    const auto begin = Clock::now();
    while (status[rank].ok() && Clock::now() - begin < 10s) {
      if (rank == 2 && ++rounds == 50) world.network->kill(2);
      status[rank] = group->allReduce(sum, sum, "sum");
    }
  });
  for (int rank = 0; rank < 4; ++rank) {
    ASSERT_FALSE(status[rank].ok());
    EXPECT_EQ(status[rank].error().code(), ErrorCode::kPeerLost);
  }
  EXPECT_NE(status[0].error().message().find("rank 2 (node2) closed the link or died"), std::string::npos)
      << status[0].error().message();
}

TEST(Death, OfARankThatHasDoneItsPartIsNoLoss) {
  World world(3, Wire::kSimulated, kRing);
  world.network->setDelay(2, 0, 300ms);
  std::vector<Status> status(3);
  onThreads(3, [&](int rank) {
    std::vector<float> sum(4, 1.0f);
    status[rank] = communicator(*world.meshes[rank])->allReduce(sum, sum, "sum");
    if (rank == 1) world.network->kill(1);  // while rank 0 still waits for rank 2
  });
  EXPECT_TRUE(status[0].ok()) << status[0].error().message();
  EXPECT_TRUE(status[1].ok() && status[2].ok());
}

TEST(Delay, ChangesNoBit) {
  World world(4, Wire::kSimulated, kRing);
  for (int from = 0; from < 4; ++from)
    for (int to = 0; to < 4; ++to)
      if (from != to) world.network->setDelay(from, to, std::chrono::microseconds((from * 7 + to * 3) % 5 * 150));
  onThreads(4, [&](int rank) {
    for (const Algorithm algorithm : kAlgorithms) {
      Options options;
      options.algorithms.others = Thresholds::always(algorithm);
      const auto group = communicator(*world.meshes[rank], options);
      for (int round = 0; round < 20; ++round) {
        std::vector<float> sum = terms(rank, round, 700);
        ASSERT_TRUE(group->allReduce(sum, sum, "sum").ok());
        ASSERT_EQ(sum, sumOfTerms(4, round, 700));
      }
    }
  });
}

TEST(Merge, PutsNaNLastAndPads) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // Two lists of [1 row, 3]: values, then ids.
  const float values[2][3] = {{2.0f, nan, 0.0f}, {1.0f, 0.0f, 0.0f}};
  const int32_t ids[2][3] = {{4, 5, -1}, {9, -1, -1}};
  std::vector<std::byte> lists(2 * 24);
  for (int list = 0; list < 2; ++list) {
    std::memcpy(lists.data() + list * 24, values[list], 12);
    std::memcpy(lists.data() + list * 24 + 12, ids[list], 12);
  }
  std::vector<float> out_values(3);
  std::vector<int32_t> out_ids(3);
  mergeCandidates(lists, 2, 1, 3, out_values, out_ids);
  EXPECT_EQ(out_ids, (std::vector<int32_t>{4, 9, 5}));
  EXPECT_EQ(out_values[0], 2.0f);
  EXPECT_EQ(out_values[1], 1.0f);
  EXPECT_TRUE(std::isnan(out_values[2]));
}

}  // namespace
}  // namespace exo::collectives
