#include "passes/planner/rates.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/passes/planner/small_models.h"

namespace exo {
namespace {

TEST(Rates, DefaultsAreNoted) {
  const auto rates = resolveRates({.nodes = {{.name = "a", .address = "h:1"}, {.name = "b", .address = "h:2"}, {.name = "c", .address = "i:1"}}});
  ASSERT_TRUE(rates.ok()) << rates.error();
  EXPECT_EQ(rates->nodes[0].read_bytes_per_s, 20e9);
  EXPECT_TRUE(std::isinf(rates->nodes[0].memory_bytes));
  EXPECT_EQ(rates->link(0, 1).transport, TopologyLink::Transport::kShm) << "same host";
  EXPECT_EQ(rates->link(0, 2).transport, TopologyLink::Transport::kTcp);
  EXPECT_DOUBLE_EQ(rates->link(0, 2).latency_s, 30e-6);
  EXPECT_DOUBLE_EQ(rates->link(2, 0).bytes_per_s, 1.25e9);
  ASSERT_EQ(rates->notes.size(), 5u);  // read, f32, int8, memory, links
  EXPECT_NE(rates->notes[0].find("a, b, c: assumed 20 GB/s"), std::string::npos) << rates->notes[0];
}

TEST(Rates, AnUnknownRateIsTheSlowestKnown) {
  Topology topology = machines({1, 1, 1}, {80, 0, 50});
  const auto rates = resolveRates(topology);
  ASSERT_TRUE(rates.ok());
  EXPECT_EQ(rates->nodes[1].read_bytes_per_s, 50e9);
}

TEST(Rates, TheQuickestLinkOfAPairCounts) {
  Topology topology = machines({1, 1}, {80, 80});
  topology.links = {{"n0", "n1", TopologyLink::Transport::kTcp, 28, 9}, {"n1", "n0", TopologyLink::Transport::kRdma, 3, 90}};
  for (int i = 0; i < 2; ++i) {
    const auto rates = resolveRates(topology);
    ASSERT_TRUE(rates.ok());
    EXPECT_EQ(rates->link(0, 1).transport, TopologyLink::Transport::kRdma);
    EXPECT_DOUBLE_EQ(rates->link(1, 0).latency_s, 3e-6);
    EXPECT_TRUE(rates->notes.empty()) << rates->notes[0];
    std::swap(topology.links[0], topology.links[1]);
  }
}

TEST(Rates, Refusals) {
  Topology topology = machines({1, 1}, {80, 80});
  topology.links = {{"n0", "n9"}};
  EXPECT_FALSE(resolveRates(topology).ok());
  EXPECT_FALSE(resolveRates(machines({-1}, {80})).ok());
  EXPECT_FALSE(resolveRates(machines({1}, {std::nan("")})).ok());
}

}  // namespace
}  // namespace exo
