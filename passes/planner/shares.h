// How much of a stage's split work each rank takes, so that all finish together: pouring work into ranks like water into
// vessels. Rank i has share s_i done at fixed_i + s_i * slope_i; the level T solves sum_i clamp((T - fixed_i) / slope_i,
// 0, cap_i) = 1. The level is the smallest possible time of the slowest rank. Among ranks of equal fixed work and caps a
// faster one never gets less.
#pragma once

#include <optional>
#include <vector>

namespace exo {

struct RankLoad {
  double fixed_s = 0;   // work every rank repeats
  double slope_s = 0;   // seconds of all the split work on this rank alone
  double cap = 1;       // largest share its memory holds, 0 to 1
};

struct Shares {
  std::vector<double> shares;  // sum to 1
  double seconds = 0;          // when the last rank is done
};

/// Nothing if the caps sum to less than 1.
std::optional<Shares> balanceShares(const std::vector<RankLoad>& ranks);

}  // namespace exo
