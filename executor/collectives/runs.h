// A group as runs of neighbours, along which sums travel (algorithms.h: chain, hierarchical). Plain arithmetic.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace exo::collectives {

/// Indices [begin, end) of a group.
struct Run {
  int begin = 0, end = 0;
  int size() const { return end - begin; }
  friend bool operator==(const Run&, const Run&) = default;
};
using Runs = std::vector<Run>;

/// Every rank a run of its own.
inline Runs singleRanks(int size) {
  Runs runs;
  for (int i = 0; i < size; ++i) runs.push_back({i, i + 1});
  return runs;
}

/// Neighbours with one number; hosts: by index in the group.
inline Runs runsOf(const std::vector<int>& hosts) {
  Runs runs;
  for (int i = 0; i < static_cast<int>(hosts.size()); ++i) {
    if (i > 0 && hosts[static_cast<size_t>(i)] == hosts[static_cast<size_t>(i) - 1]) {
      ++runs.back().end;
    } else {
      runs.push_back({i, i + 1});
    }
  }
  return runs;
}

/// Owners of parts in each run: the length of the shortest.
inline int ownersOf(const Runs& runs) {
  return std::min_element(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.size() < b.size(); })->size();
}

}  // namespace exo::collectives
