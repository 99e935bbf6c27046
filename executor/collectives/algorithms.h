// Which algorithm an all_reduce takes, by group and size. Every choice gives the same bits: all add in rank order.
//
//   one-shot  everybody sends everything to all and adds up      1 hop         (N-1) S sent by each of N ranks
//   two-shot  rank r adds up the r-th part, sends it to all      2 hops        2 (N-1)/N S
//   chain     0 → 1 → ... → N-1 adding, the sum comes back       2 (N-1) hops  S to either neighbour, pipelined by chunks
//
// The chain stands where others have a ring. A ring adds each part up in a rotation of its own, so that bits would depend on
// the algorithm, and with it on a measured table. The chain talks to neighbours only as well, uses both directions of each
// link at once, and where ranks of one host are neighbours, everything crosses between two hosts once each way.
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

enum class Algorithm : uint8_t { kOneShot, kTwoShot, kChain };
constexpr Algorithm kAlgorithms[] = {Algorithm::kOneShot, Algorithm::kTwoShot, Algorithm::kChain};
std::string_view name(Algorithm algorithm);

/// One-shot up to one_shot_bytes on the wire, two-shot up to two_shot_bytes, chain above.
struct Thresholds {
  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
  size_t one_shot_bytes = 64 * 1024;
  size_t two_shot_bytes = kNoLimit;

  Algorithm choose(size_t group_size, size_t bytes) const;
  /// Thresholds that take `algorithm` for every size, in groups of three ranks and more.
  static Thresholds always(Algorithm algorithm);
  friend bool operator==(const Thresholds&, const Thresholds&) = default;
};

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
  double us[std::size(kAlgorithms)] = {};  // by Algorithm
};
/// The thresholds with which all sizes together, each counted by its ratio, are quickest. Timings by ascending size. What
/// they do not show stays as by default: one-shot where all sizes are below its limit, two-shot where none is for the chain.
Thresholds fitThresholds(std::span<const Timing> timings);

}  // namespace exo::collectives
