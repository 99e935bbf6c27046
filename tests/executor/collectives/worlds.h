// What the tests of collectives share: worlds over every transport, and values whose sum depends on the order of adding.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "executor/collectives/collectives.h"
#include "tests/executor/transport/links.h"

namespace exo::collectives {

// Small, so that modest messages are longer than the ring: 4 slots of 448 B payload.
inline constexpr transport::RingShape kRing{512, 4};

inline std::vector<int> everyone(int world) {
  std::vector<int> group(world);
  std::iota(group.begin(), group.end(), 0);
  return group;
}

inline std::unique_ptr<Communicator> communicator(transport::Mesh& mesh, const Options& options = {}) {
  auto made = Communicator::create(mesh, everyone(mesh.world()), options);
  EXPECT_TRUE(made.ok()) << made.error().message();
  return std::move(made).value();
}

/// What rank r contributes in round `round`: values whose sum depends on the order of adding.
inline std::vector<float> terms(int rank, int round, size_t count) {
  std::mt19937 random(static_cast<unsigned>(rank * 1009 + round));
  std::uniform_real_distribution<float> distribution(-1, 1);
  std::vector<float> out(count);
  for (float& value : out) value = distribution(random) * std::pow(10.0f, static_cast<float>(random() % 7));
  return out;
}

inline std::vector<float> sumOfTerms(int world, int round, size_t count) {
  std::vector<float> out = terms(0, round, count);
  for (int rank = 1; rank < world; ++rank) {
    const std::vector<float> more = terms(rank, round, count);
    for (size_t i = 0; i < count; ++i) out[i] += more[i];
  }
  return out;
}

struct Case {
  transport::Wire wire;
  int world;
};

inline const auto kWorlds = [] {
  using transport::Wire;
  std::vector<Case> cases = {{Wire::kShm, 1}, {Wire::kVerbs, 2}, {Wire::kVerbs, 3}};
  for (const Wire wire : {Wire::kShm, Wire::kTcp, Wire::kSimulated})
    for (int world = 2; world <= 8; ++world) cases.push_back({wire, world});
  return testing::ValuesIn(cases);
}();
/// Skipped where this machine has no such link.
class WorldTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { EXO_SKIP_WITHOUT(GetParam().wire); }
};
inline std::string worldName(const testing::TestParamInfo<Case>& info) {
  return wireName(info.param.wire) + std::to_string(info.param.world);
}

/// A world of the case. Simulated links have delays that differ by pair and by message, so that messages of different peers
/// overtake, and some are slow.
inline transport::World worldOf(const Case& c) {
  transport::World world(c.world, c.wire, kRing);
  if (world.network == nullptr) return world;
  for (int from = 0; from < c.world; ++from)
    for (int to = 0; to < c.world; ++to)
      if (from != to) {
        world.network->setDelay(from, to, std::chrono::microseconds((from * 7 + to * 3) % 5 * 20), std::chrono::microseconds(60));
        world.network->setBandwidth(from, to, (from + to) % 3 == 0 ? 200e6 : 0);
      }
  return world;
}

/// Hosts of neighbours: pairs, threes; and of ranks that are no neighbours.
inline std::vector<std::vector<int>> hostsOf(int world) {
  std::vector<std::vector<int>> all(3);
  for (int rank = 0; rank < world; ++rank) {
    all[0].push_back(rank / 2);
    all[1].push_back((rank + 1) / 3);
    all[2].push_back(rank % 2);
  }
  return all;
}

/// Extents of up to 150 columns per rank, some of them 0.
inline std::vector<int64_t> randomExtents(std::mt19937& random, int size) {
  std::vector<int64_t> extents(size);
  for (int64_t& extent : extents) extent = random() % 3 == 0 ? 0 : random() % 150;
  return extents;
}

}  // namespace exo::collectives
