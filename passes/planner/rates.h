// What the planner assumes about machines and links: the topology's figures in SI units, defaults where it has none.
// Defaults are those of a small desktop; each use of one becomes a note, because the prediction is only as good as they are.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "passes/parallel_plan.h"

namespace exo {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

struct DefaultRates {
  static constexpr double kReadBytesPerSecond = 20e9, kF32FlopsPerSecond = 100e9, kInt8OpsPerSecond = 400e9;
};

struct NodeRates {
  std::string name;
  double memory_bytes = std::numeric_limits<double>::infinity();  // infinite where the topology does not say
  double read_bytes_per_s = 0, f32_flops_per_s = 0, int8_ops_per_s = 0;
};

struct LinkRates {
  TopologyLink::Transport transport = TopologyLink::Transport::kTcp;
  double latency_s = 0, bytes_per_s = 0;
  std::vector<TopologyLink::Point> curve;  // measured; empty: latency and bandwidth are all there is
  bool is_measured = false;
  /// Of one message: interpolated where there is a curve, else latency + bytes / bandwidth.
  double seconds(double bytes) const;
};

/// What all_reduce was measured to take between some nodes.
struct ReduceRates {
  std::vector<int> nodes;             // in the order measured: that of ranks
  std::vector<ReduceStep> steps;
  std::vector<TopologyCollective::Timing> timings;
};

/// Every node and every pair, with nothing unknown.
struct Rates {
  std::vector<NodeRates> nodes;
  std::vector<LinkRates> links;       // [from * nodes.size() + to], symmetric
  std::vector<ReduceRates> reduces;
  std::vector<int> hosts;             // by node: equal where their addresses are on one machine
  std::vector<std::string> notes;     // what was assumed
  const LinkRates& link(int a, int b) const { return links[static_cast<size_t>(a) * nodes.size() + static_cast<size_t>(b)]; }
};

/// A node's missing rate is the slowest known one of the others, or the default if none is known. A pair without a link
/// reaches each other by shared memory on one host and TCP otherwise. Of several links the quickest for 16 KiB counts, and its curve.
/// Error kInvalidInput if a link names an unknown node, or a figure is negative or not finite.
Result<Rates> resolveRates(const Topology& topology);

}  // namespace exo
