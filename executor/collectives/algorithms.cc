#include "executor/collectives/algorithms.h"

#include <algorithm>
#include <cmath>

namespace exo::collectives {

std::string_view name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kOneShot: return "one-shot";
    case Algorithm::kTwoShot: return "two-shot";
    case Algorithm::kChain: return "chain";
  }
  return "?";
}

Algorithm Thresholds::choose(size_t group_size, size_t bytes) const {
  if (group_size <= 2 || bytes <= one_shot_bytes) return Algorithm::kOneShot;
  return bytes <= two_shot_bytes ? Algorithm::kTwoShot : Algorithm::kChain;
}

Thresholds Thresholds::always(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kOneShot: return {kNoLimit, kNoLimit};
    case Algorithm::kTwoShot: return {0, kNoLimit};
    case Algorithm::kChain: break;
  }
  return {0, 0};
}

const Thresholds& AlgorithmTable::of(std::span<const int> group) const {
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return std::ranges::equal(row.group, group); });
  return row == rows.end() ? others : row->all_reduce;
}

Thresholds fitThresholds(std::span<const Timing> timings) {
  if (timings.empty()) return {};
  const auto cost = [&](size_t begin, size_t end, Algorithm algorithm) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += std::log(timings[i].us[static_cast<size_t>(algorithm)]);
    return sum;
  };
  // Sizes [0, one) are one-shot, [one, two) two-shot, the rest chain.
  double best = std::numeric_limits<double>::infinity();
  size_t best_one = 0, best_two = 0;
  for (size_t one = 0; one <= timings.size(); ++one)
    for (size_t two = one; two <= timings.size(); ++two) {
      const double all = cost(0, one, Algorithm::kOneShot) + cost(one, two, Algorithm::kTwoShot) +
                         cost(two, timings.size(), Algorithm::kChain);
      if (all > best || (all == best && two < best_two)) continue;
      best = all;
      best_one = one;
      best_two = two;
    }
  const auto upTo = [&](size_t count) { return count == 0 ? 0 : timings[count - 1].bytes; };
  if (best_one == timings.size()) return {std::max(upTo(best_one), Thresholds{}.one_shot_bytes), Thresholds::kNoLimit};
  return {upTo(best_one), best_two == timings.size() ? Thresholds::kNoLimit : upTo(best_two)};
}

}  // namespace exo::collectives
