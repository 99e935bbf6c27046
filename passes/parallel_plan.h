// The planner's decision, as data: which nodes work, on which blocks, with which share of each split.
// Made by passes/planner (or by hand: equalPlan), carried out by choose_parallelism.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ir/base/result.h"

namespace exo {

/// Machines and what connects them. Rates are 0 where unknown: then nodes are assumed equal, and the plan says so.
struct TopologyNode {
  std::string name, address;
  double memory_gib = 0;
  int cores = 0;
  double read_gb_per_s = 0, int8_gop_per_s = 0, f32_gflop_per_s = 0;
  struct Read {
    int threads = 0;
    double gb_per_s = 0;
  };
  std::vector<Read> read_by_threads;  // ascending; of these read_gb_per_s is the best
};
struct TopologyLink {
  std::string from, to;               // node names; a link works both ways
  enum class Transport { kShm, kRdma, kTcp } transport = Transport::kTcp;
  double latency_us = 0, bandwidth_gbit_per_s = 0;
  double barrier_us = 0;              // of these two nodes
  struct Point {
    uint64_t bytes = 0;
    double us = 0;                    // half a round trip of one message
  };
  std::vector<Point> curve;           // by ascending bytes; empty: latency and bandwidth are all that is known
};
/// As executor/collectives/algorithms.h, in this order.
enum class ReduceAlgorithm { kOneShot, kTwoShot, kChain, kHierarchical };
constexpr int kNumReduceAlgorithms = 4;
constexpr const char* kReduceAlgorithmNames[kNumReduceAlgorithms] = {"one-shot", "two-shot", "chain", "hierarchical"};
/// `algorithm` up to so many bytes. The last of several steps has no limit.
struct ReduceStep {
  ReduceAlgorithm algorithm = ReduceAlgorithm::kOneShot;
  std::optional<uint64_t> up_to_bytes;
  friend bool operator==(const ReduceStep&, const ReduceStep&) = default;
};
/// Which algorithm all_reduce of these nodes takes, as measured when they met, and the measurements.
struct TopologyCollective {
  std::vector<std::string> group;     // node names
  std::vector<ReduceStep> steps;
  double barrier_us = 0;
  struct Timing {
    uint64_t bytes = 0;
    double us[kNumReduceAlgorithms] = {};  // by ReduceAlgorithm; 0: not measured
  };
  std::vector<Timing> timings;        // by ascending bytes
};
struct Topology {
  std::vector<TopologyNode> nodes;
  std::vector<TopologyLink> links;    // pairs without a link are assumed to reach each other by default TCP
  std::vector<TopologyCollective> collectives;  // of groups not named here: the defaults
};

/// The part of a node's address before the port: nodes with the same one share a machine.
inline std::string hostOf(const TopologyNode& node) { return node.address.substr(0, node.address.rfind(':')); }

/// One pipeline stage: ranks in order, the blocks [first_block, end_block) of the graph, and each rank's share (sums to 1).
struct StagePlan {
  std::vector<int> nodes;             // indices into Topology::nodes; rank order
  int first_block = 0, end_block = 0;
  std::vector<double> shares;         // of everything this stage splits; uneven where nodes are
};

struct ParallelPlan {
  std::vector<StagePlan> stages;
  std::vector<std::string> notes;     // decisions worth a line in the report: nodes left out, rates assumed equal
};

/// `stages` stages of `ranks_per_stage` equal ranks over the blocks of a graph, cut evenly.
ParallelPlan equalPlan(int num_blocks, int stages, int ranks_per_stage);

}  // namespace exo
