// Which algorithm all_reduce takes in a group, and what it is reckoned to cost.
#include "passes/planner/reduce_time.h"

#include <gtest/gtest.h>

#include "passes/link_time.h"
#include "tests/passes/planner/small_models.h"

namespace exo {
namespace {

using enum ReduceAlgorithm;
using enum TopologyLink::Transport;
using Steps = std::vector<ReduceStep>;

Rates ratesOf(const Topology& topology) { return resolveRates(topology).value(); }

/// Four nodes, all pairs linked over tcp: 20 us and 8 Gbit/s, 1e9 bytes a second.
Topology fourLinked() {
  Topology topology = machines({1, 1, 1, 1}, {80, 80, 80, 80});
  for (int a = 0; a < 4; ++a)
    for (int b = a + 1; b < 4; ++b) topology.links.push_back({topology.nodes[static_cast<size_t>(a)].name, topology.nodes[static_cast<size_t>(b)].name, kTcp, 20, 8});
  return topology;
}

TEST(LinkTime, IsInterpolated) {
  const std::vector<TopologyLink::Point> points = {{100, 2}, {200, 4}, {400, 5}};
  EXPECT_DOUBLE_EQ(interpolatedUs(points, 0.5, 1), 2);
  EXPECT_DOUBLE_EQ(interpolatedUs(points, 0.5, 100), 2);
  EXPECT_DOUBLE_EQ(interpolatedUs(points, 0.5, 150), 3);
  EXPECT_DOUBLE_EQ(interpolatedUs(points, 0.5, 300), 4.5);
  EXPECT_DOUBLE_EQ(interpolatedUs(points, 0.5, 410), 10);
  EXPECT_DOUBLE_EQ(lastUsPerByte(points), 1.0 / 200);
  EXPECT_EQ(messageUs({}, 100), std::nullopt);
  EXPECT_DOUBLE_EQ(*messageUs({.latency_us = 10, .bandwidth_gbit_per_s = 8}, 1000), 11);
}

TEST(LinkTime, OfAPairComesFromItsCurve) {
  Topology topology = machines({1, 1}, {80, 80});
  topology.links = {{"n0", "n1", kTcp, 10, 8, 0, {{64, 10}, {10'000, 50}}}};
  const Rates rates = ratesOf(topology);
  EXPECT_DOUBLE_EQ(rates.link(0, 1).seconds(64), 10e-6);
  EXPECT_DOUBLE_EQ(rates.link(1, 0).seconds(10'000), 50e-6);
  EXPECT_DOUBLE_EQ(rates.link(0, 1).seconds(20'000), 60e-6);  // 1 ns a byte beyond
  // Two ranks: one message each way.
  EXPECT_DOUBLE_EQ(ReduceTime(rates, {0, 1}).seconds(10'000), 50e-6);
}

TEST(ReduceTime, HasTheExecutorsStepsWhereNothingIsMeasured) {
  const ReduceTime time(ratesOf(machines({1, 1, 1}, {80, 80, 80})), {0, 1, 2});
  EXPECT_EQ(time.source(), ReduceTime::Source::kDefault);
  EXPECT_EQ(time.steps(), (Steps{{kOneShot, 65536}, {kTwoShot, std::nullopt}}));
}

TEST(ReduceTime, IsReckonedFromMeasuredLinks) {
  const ReduceTime time(ratesOf(fourLinked()), {0, 1, 2, 3});
  EXPECT_EQ(time.source(), ReduceTime::Source::kPredicted);
  // b bytes: one-shot 20 us + 3 b ns; two-shot 40 us + 1.5 b ns, quicker by 5 % from 16 KiB on (69.2 us against 64.6);
  // chain 120 us + 6 ns c + (b - c) ns with c = 256 KiB: 1.43 ms + b ns, quicker than two-shot by 5 % from 4 MiB on.
  EXPECT_EQ(time.algorithm(8192), kOneShot);
  EXPECT_DOUBLE_EQ(time.seconds(8192), 20e-6 + 3 * 8192e-9);
  EXPECT_EQ(time.algorithm(65536), kTwoShot);
  EXPECT_DOUBLE_EQ(time.seconds(65536), 40e-6 + 1.5 * 65536e-9);
  EXPECT_EQ(time.algorithm(1 << 20), kTwoShot);
  EXPECT_EQ(time.algorithm(16 << 20), kChain);
  EXPECT_EQ(time.steps().back().up_to_bytes, std::nullopt);
}

TEST(ReduceTime, KnowsHosts) {
  // n0, n1 and n2, n3 share a host; inside 1 us and 80 Gbit/s.
  Topology topology = fourLinked();
  for (size_t i = 0; i < 4; ++i) topology.nodes[i].address = (i < 2 ? "h:" : "i:") + std::to_string(i + 1);
  topology.links.push_back({"n0", "n1", kShm, 1, 80});
  topology.links.push_back({"n2", "n3", kShm, 1, 80});
  const Rates rates = ratesOf(topology);
  const ReduceTime time(rates, {0, 1, 2, 3});
  // One part to the neighbour and back, and everything between the hosts each way: 2 (1 us + b/20 ns) + 2 (20 us + b ns) up to 256 KiB.
  EXPECT_EQ(time.algorithm(16 << 20), kHierarchical);
  const ReduceTime apart(rates, {0, 2, 1, 3});
  EXPECT_NE(apart.algorithm(16 << 20), kHierarchical) << "no neighbours share a host";
}

TEST(ReduceTime, TakesWhatWasMeasuredForTheGroup) {
  Topology topology = fourLinked();
  TopologyCollective measured{{"n2", "n0", "n1"}, {{kTwoShot, 1000}, {kChain, std::nullopt}}, 3, {{500, {9, 5, 0, 0}}, {1500, {9, 15, 12, 0}}, {2500, {9, 30, 22, 0}}}};
  topology.collectives = {measured};
  const ReduceTime same(ratesOf(topology), {0, 1, 2});
  EXPECT_EQ(same.source(), ReduceTime::Source::kMeasured);
  EXPECT_EQ(same.steps(), measured.steps);
  EXPECT_DOUBLE_EQ(same.seconds(500), 5e-6);
  EXPECT_DOUBLE_EQ(same.seconds(1000), 10e-6);
  EXPECT_DOUBLE_EQ(same.seconds(2000), 17e-6);
  EXPECT_DOUBLE_EQ(same.seconds(3500), 32e-6);  // as between the last two
  EXPECT_EQ(stepsText(same.steps()), "two-shot up to 1000 B, chain above");
  // n0 and n2, which were neighbours when it was measured, on one host: in another order it is another chain.
  topology.nodes[0].address = "h:1";
  topology.nodes[2].address = "h:2";
  EXPECT_EQ(ReduceTime(ratesOf(topology), {1, 0, 2}).source(), ReduceTime::Source::kPredicted);
  EXPECT_EQ(ReduceTime(ratesOf(topology), {0, 2, 1}).source(), ReduceTime::Source::kMeasured);
  EXPECT_EQ(ReduceTime(ratesOf(topology), {0, 1, 2}).source(), ReduceTime::Source::kPredicted);
}

}  // namespace
}  // namespace exo
