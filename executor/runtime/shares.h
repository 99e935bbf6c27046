// Who computes what in a region: the units of its chains in a row, each weighing what it computes, are cut into equal parts,
// one per thread. A thread's share of a chain is the units whose larger part is its own: contiguous, and every unit is one
// thread's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace exo::runtime {

struct UnitRange {
  int64_t begin = 0, end = 0;
};

/// So many units of so much work each.
struct ChainWork {
  int64_t units = 0;
  double unit_work = 0;
};

/// [thread * chains.size() + chain].
std::vector<UnitRange> sharesOf(std::span<const ChainWork> chains, int threads);

}  // namespace exo::runtime
