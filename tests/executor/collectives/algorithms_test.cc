// The choice of algorithms, its calibration, and bf16 on the wire.
#include "executor/collectives/algorithms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "executor/collectives/bf16.h"
#include "executor/collectives/calibration.h"
#include "tests/executor/collectives/worlds.h"

namespace exo::collectives {
namespace {

using namespace std::chrono_literals;
using transport::onThreads;
using transport::Wire;
using transport::World;

using enum Algorithm;
constexpr size_t kNoLimit = Thresholds::kNoLimit;

TEST(Thresholds, ChooseByGroupAndSize) {
  const Thresholds thresholds{{{kOneShot, 100}, {kHierarchical, 1000}, {kChain, kNoLimit}}};
  EXPECT_EQ(thresholds.choose(3, 0), kOneShot);
  EXPECT_EQ(thresholds.choose(3, 100), kOneShot);
  EXPECT_EQ(thresholds.choose(3, 101), kHierarchical);
  EXPECT_EQ(thresholds.choose(3, 1000), kHierarchical);
  EXPECT_EQ(thresholds.choose(3, 1001), kChain);
  EXPECT_EQ(thresholds.choose(3, kNoLimit), kChain);
  EXPECT_EQ(thresholds.choose(2, 1001), kOneShot);
  EXPECT_EQ(Thresholds{}.choose(8, 64 * 1024), kOneShot);
  EXPECT_EQ(Thresholds{}.choose(8, 64 * 1024 + 1), kTwoShot);
  EXPECT_EQ(Thresholds{}.choose(8, size_t{1} << 40), kTwoShot);
  for (const Algorithm algorithm : kAlgorithms) EXPECT_EQ(Thresholds::always(algorithm).choose(3, 4), algorithm);
}

TEST(Thresholds, AscendToNoLimit) {
  EXPECT_TRUE(validate(Thresholds{}).ok());
  const auto problem = [](std::vector<Thresholds::Step> steps) {
    const Status status = validate(Thresholds{std::move(steps)});
    return status.ok() ? "" : status.error().message();
  };
  EXPECT_EQ(problem({}), "algorithms: the last step must have no limit");
  EXPECT_EQ(problem({{kOneShot, 5}}), "algorithms: the last step must have no limit");
  EXPECT_EQ(problem({{kOneShot, 5}, {kTwoShot, 5}, {kChain, kNoLimit}}), "algorithms: limits must ascend, got 5 B after 5 B");
  World world(2, Wire::kSimulated, kRing);
  Options options;
  options.algorithms.rows = {{{0, 1}, Thresholds{{{kOneShot, 5}}}}};
  EXPECT_FALSE(Communicator::create(*world.meshes[0], {0, 1}, options).ok());
}

TEST(Thresholds, OfATableAreThoseOfTheWholeGroup) {
  AlgorithmTable table;
  const auto always = [](Algorithm algorithm) { return Thresholds::always(algorithm); };
  table.rows = {{{0, 1, 2}, always(kTwoShot)}, {{0, 2, 3}, always(kChain)}};
  table.others = always(kHierarchical);
  EXPECT_EQ(table.of(std::vector{0, 2, 3}), always(kChain));
  EXPECT_EQ(table.of(std::vector{0, 1, 2}), always(kTwoShot));
  EXPECT_EQ(table.of(std::vector{0, 1}), always(kHierarchical));
}

TEST(Thresholds, FitTheTimings) {
  // By size: one-shot, two-shot, chain; hierarchical was not measured.
  const std::vector<Timing> timings = {{10, {1, 2, 9}}, {20, {2, 3, 9}}, {40, {8, 4, 9}}, {80, {16, 9, 8}}};
  EXPECT_EQ(fitThresholds(timings), (Thresholds{{{kOneShot, 20}, {kTwoShot, 40}, {kChain, kNoLimit}}}));
  EXPECT_EQ(fitThresholds(std::span(timings).first(3)), (Thresholds{{{kOneShot, 20}, {kTwoShot, kNoLimit}}}));
  EXPECT_EQ(fitThresholds(std::span(timings).first(2)), Thresholds{});
  EXPECT_EQ(fitThresholds(std::vector<Timing>{{1 << 20, {1, 2, 3}}}), (Thresholds{{{kOneShot, 1 << 20}, {kTwoShot, kNoLimit}}}));
  EXPECT_EQ(fitThresholds(std::span(timings).last(1)), Thresholds::always(kChain));
  EXPECT_EQ(fitThresholds({}), Thresholds{});
  // One outlier in the middle, or a gain that is none, does not make a step.
  const std::vector<Timing> noisy = {{10, {1, 2, 9}}, {20, {3.1, 3, 9}}, {40, {2, 4, 9}}, {80, {16, 9, 20}}};
  EXPECT_EQ(fitThresholds(noisy), (Thresholds{{{kOneShot, 40}, {kTwoShot, kNoLimit}}}));
  // In any order, and with one that goes away again.
  const std::vector<Timing> hosts = {{10, {1, 2, 9, 3}}, {20, {4, 3, 9, 2}}, {40, {8, 4, 9, 5}}, {80, {16, 9, 20, 6}}};
  EXPECT_EQ(fitThresholds(hosts), (Thresholds{{{kOneShot, 10}, {kHierarchical, 20}, {kTwoShot, 40}, {kHierarchical, kNoLimit}}}));
}

TEST(Runs, AreNeighboursOfOneHost) {
  EXPECT_EQ(runsOf({0, 0, 2, 2, 2}), (Runs{{0, 2}, {2, 5}}));
  EXPECT_EQ(runsOf({0, 1, 0}), (Runs{{0, 1}, {1, 2}, {2, 3}}));
  EXPECT_EQ(runsOf({4, 4, 4}), (Runs{{0, 3}}));
  EXPECT_EQ(singleRanks(2), (Runs{{0, 1}, {1, 2}}));
  EXPECT_EQ(ownersOf({{0, 2}, {2, 5}}), 2);
  EXPECT_EQ(ownersOf({{0, 1}}), 1);
}

TEST(Thresholds, ThatDifferBetweenRanksAreAMismatch) {
  World world(3, Wire::kSimulated, kRing);
  std::vector<Status> status(3);
  onThreads(3, [&](int rank) {
    Options options;
    options.timeout = 20s;
    options.algorithms.others = Thresholds::always(rank == 0 ? Algorithm::kOneShot : Algorithm::kChain);
    std::vector<float> sum(8);
    status[rank] = communicator(*world.meshes[rank], options)->allReduce(sum, sum, "x");
    if (!status[rank].ok()) world.network->kill(rank);  // the others need not wait for it
  });
  ASSERT_FALSE(status[1].ok());
  EXPECT_EQ(status[1].error().message(),
            "all_reduce \"x\" #1: expected all_reduce (chain) #1 of 32 B from rank 0 (node0), got all_reduce #1 of 32 B");
}

class Calibrated : public WorldTest {};
INSTANTIATE_TEST_SUITE_P(Worlds, Calibrated,
                         testing::Values(Case{Wire::kShm, 1}, Case{Wire::kShm, 2}, Case{Wire::kShm, 3}, Case{Wire::kTcp, 4},
                                         Case{Wire::kSimulated, 5}),
                         worldName);

TEST_P(Calibrated, ThresholdsAreEqualOnAllRanksAndWork) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  std::vector<Calibration> all(size);
  onThreads(size, [&](int rank) {
    CalibrationOptions options;
    options.sizes = {64, 1024, 8192};
    options.budget = 2s;  // milliseconds are needed; sanitizers and a busy machine want more
    auto made = calibrate(*world.meshes[rank], everyone(size), options);
    ASSERT_TRUE(made.ok()) << made.error().message();
    all[rank] = std::move(*made);
    Options use;
    use.algorithms.rows = {{everyone(size), all[rank].thresholds}};
    const auto group = communicator(*world.meshes[rank], use);
    for (const size_t count : {10, 300, 3000}) {
      std::vector<float> sum = terms(rank, 1, count);
      ASSERT_TRUE(group->allReduce(sum, sum, "sum").ok());
      ASSERT_EQ(sum, sumOfTerms(size, 1, count));
    }
  });
  for (const Calibration& each : all) EXPECT_EQ(each.thresholds, all[0].thresholds);
  EXPECT_EQ(all[0].timings.empty(), size <= 2);
  for (const Timing& timing : all[0].timings)
    for (const Algorithm algorithm : {kOneShot, kTwoShot, kChain}) EXPECT_GT(timing.us[static_cast<size_t>(algorithm)], 0);
  EXPECT_GT(all[0].barrier_us, 0);
  EXPECT_EQ(all[0].thresholds, fitThresholds(all[0].timings));
}

TEST(Calibration, MeasuresTheHierarchicalWhereHostsHaveSeveralNeighbours) {
  for (const auto& [hosts, own_form] : {std::pair(std::vector{0, 0, 2, 2}, true), std::pair(std::vector{0, 1, 2, 3}, false), std::pair(std::vector{0, 0, 0, 0}, false)}) {
    World world(4, Wire::kSimulated, kRing);
    std::vector<Timing> timings;
    onThreads(4, [&](int rank) {
      world.meshes[rank]->setHosts(hosts);
      const auto made = calibrate(*world.meshes[rank], everyone(4), {.sizes = {1024}, .budget = 2s});
      ASSERT_TRUE(made.ok()) << made.error();
      if (rank == 0) timings = made->timings;
    });
    ASSERT_EQ(timings.size(), 1u);
    EXPECT_EQ(timings[0].us[static_cast<size_t>(kHierarchical)] > 0, own_form);
  }
}

TEST(Calibration, EndsWithAnErrorWhenARankDies) {
  World world(3, Wire::kSimulated, kRing);
  onThreads(3, [&](int rank) {
    if (rank == 1) return world.network->kill(1);
    const auto made = calibrate(*world.meshes[rank], everyone(3), {.timeout = 20s});
    world.network->kill(rank);  // as a node does that gives up: the other may wait for it rather than for rank 1
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code(), ErrorCode::kPeerLost);
  });
}

TEST(Bf16, RoundsToNearestEven) {
  const auto rounded = [](uint32_t bits) { return toBf16(std::bit_cast<float>(bits)).bits; };
  EXPECT_EQ(rounded(0x3f800000), 0x3f80);
  EXPECT_EQ(rounded(0x3f807fff), 0x3f80);
  EXPECT_EQ(rounded(0x3f808000), 0x3f80);  // a tie: down to even
  EXPECT_EQ(rounded(0x3f818000), 0x3f82);  // a tie: up to even
  EXPECT_EQ(rounded(0x3f808001), 0x3f81);
  EXPECT_EQ(rounded(0x80000001), 0x8000);  // -0
  EXPECT_EQ(rounded(0x7f7fffff), 0x7f80);  // beyond the largest
  EXPECT_EQ(rounded(0xff800000), 0xff80);
  EXPECT_TRUE(std::isnan(toFloat(toBf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(toFloat(toBf16(std::bit_cast<float>(0x7fffffffu)))));
}

class OnTheWire : public WorldTest {};
INSTANTIATE_TEST_SUITE_P(Worlds, OnTheWire, kWorlds, worldName);

TEST_P(OnTheWire, Bf16TermsAreSummedInF32AndRoundedOnceByAnyAlgorithm) {
  const int size = GetParam().world;
  World world = worldOf(GetParam());
  const auto rounded = [](float value) { return toFloat(toBf16(value)); };
  constexpr size_t kSmall = 250;  // bytes of f32 that stay as they are
  for (const Algorithm algorithm : kAlgorithms)
    onThreads(size, [&](int rank) {
      Options options;
      options.algorithms.others = Thresholds::always(algorithm);
      options.wire = WireFormat::kBf16;
      options.bf16_above_bytes = kSmall;
      const auto group = communicator(*world.meshes[rank], options);
      int round = 0;
      for (const size_t count : {1, 62, 63, 64, 1001, 5000}) {
        std::vector<float> want = terms(0, ++round, count);
        if (size == 1 || count * sizeof(float) <= kSmall) {
          want = sumOfTerms(size, round, count);
        } else {
          for (float& value : want) value = rounded(value);
          for (int r = 1; r < size; ++r) {
            const std::vector<float> more = terms(r, round, count);
            for (size_t i = 0; i < count; ++i) want[i] += rounded(more[i]);
          }
          for (float& value : want) value = rounded(value);
        }
        std::vector<float> sum = terms(rank, round, count), apart(count);
        ASSERT_TRUE(group->allReduce(sum, apart, "apart").ok());
        ASSERT_TRUE(group->allReduce(sum, sum, "in place").ok());
        ASSERT_EQ(apart, want) << count << " floats";
        ASSERT_EQ(sum, want) << count << " floats";
      }
    });
}

}  // namespace
}  // namespace exo::collectives
