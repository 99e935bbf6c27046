// Which algorithm an all_reduce takes, by group and size. Every choice gives the same bits: all add in rank order.
//
//   one-shot      everybody sends everything to all and adds up      1 hop          (N-1) S sent by each of N ranks
//   two-shot      rank r adds up the r-th part, sends it to all      2 hops         2 (N-1)/N S
//   chain         0 → 1 → ... → N-1 adding, the sum comes back       2 (N-1) hops   S to either neighbour, pipelined by chunks
//   hierarchical  a two-shot in each host, a chain between them      2 + 2 (H-1)    S each way between two of the H hosts
//
// The chain stands where others have a ring. A ring adds each part up in a rotation of its own, so that bits would depend on
// the algorithm, and with it on a measured table. The chain talks to neighbours only as well, uses both directions of each
// link at once, and where ranks of one host are neighbours, everything crosses between two hosts once each way. What it
// gives up: a ring sends 2 (N-1)/N S over each link in one direction, the chain S in both, so that on links whose directions
// share their bandwidth (loopback TCP, half duplex) a ring would be up to twice as quick for large S.
//
// Hierarchical: neighbours of one host are a run (Mesh::hostOf). Of each run the first k ranks, k the length of the shortest,
// own a part each. Owner j adds what it gets from owner j of the run before, then the terms of its own run, in rank order,
// and hands the sum on; the last run's sums travel back, and owners give them to their run. Where every run is one rank it is
// the chain, where there is one run the two-shot. Ranks of a host that are not neighbours are in runs of their own: the order
// of adding comes first.
//
// A rank's death is seen by its neighbours in the chain; the others see those give up.
// Two ranks always take one-shot: by any other they would exchange as many bytes and wait longer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "ir/base/result.h"

namespace exo::collectives {

enum class Algorithm : uint8_t { kOneShot, kTwoShot, kChain, kHierarchical };
constexpr Algorithm kAlgorithms[] = {Algorithm::kOneShot, Algorithm::kTwoShot, Algorithm::kChain, Algorithm::kHierarchical};
std::string_view name(Algorithm algorithm);

/// By bytes on the wire: every step's algorithm up to its limit. Limits ascend; the last step has none.
struct Thresholds {
  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
  struct Step {
    Algorithm algorithm = Algorithm::kOneShot;
    size_t up_to_bytes = kNoLimit;
    friend bool operator==(const Step&, const Step&) = default;
  };
  std::vector<Step> steps = {{Algorithm::kOneShot, 64 * 1024}, {Algorithm::kTwoShot, kNoLimit}};

  Algorithm choose(size_t group_size, size_t bytes) const;
  /// `algorithm` for every size, in groups of three ranks and more.
  static Thresholds always(Algorithm algorithm) { return {{{algorithm, kNoLimit}}}; }
  friend bool operator==(const Thresholds&, const Thresholds&) = default;
};
/// kInvalidInput when limits do not ascend to "none".
Status validate(const Thresholds& thresholds);

/// Equal on all ranks: those that choose differently end in kMismatch.
struct AlgorithmTable {
  struct Row {
    std::vector<int> group;  // ascending ranks
    Thresholds all_reduce;
  };
  std::vector<Row> rows;  // at most one per group
  Thresholds others;      // of groups without a row

  const Thresholds& of(std::span<const int> group) const;
};

/// Medians of one size.
struct Timing {
  size_t bytes = 0;
  double us[std::size(kAlgorithms)] = {};      // by Algorithm; 0: not measured
  double spread[std::size(kAlgorithms)] = {};  // (largest - smallest) / median of repetitions
};
/// The steps with which all sizes together, each counted by its ratio, are quickest; a change of algorithm has to gain 5 %.
/// Timings by ascending size. What they do not show stays as by default: beyond the largest size one-shot gives way to two-shot
/// (at once, or at the default's limit). Algorithms that lack a size are left out.
Thresholds fitThresholds(std::span<const Timing> timings);

}  // namespace exo::collectives
