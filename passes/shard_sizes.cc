#include "passes/shard_sizes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace exo {

std::vector<Range> splitByShares(int64_t total, int64_t unit, const std::vector<double>& shares) {
  EXO_CHECK(total >= 0 && unit > 0 && std::any_of(shares.begin(), shares.end(), [](double share) { return share > 0; })) << "splitByShares of " << total << " in units of " << unit;
  const int64_t units = (total + unit - 1) / unit;
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<int64_t> counts(shares.size());
  std::vector<std::pair<double, size_t>> remainders;
  int64_t given = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    const double exact = static_cast<double>(units) * shares[i] / sum;
    counts[i] = static_cast<int64_t>(std::floor(exact + 1e-9));
    given += counts[i];
    remainders.emplace_back(exact - static_cast<double>(counts[i]), i);
  }
  std::stable_sort(remainders.begin(), remainders.end(), [](const auto& a, const auto& b) { return a.first > b.first + 1e-9; });
  for (size_t i = 0; given < units; i = (i + 1) % remainders.size()) {
    if (shares[remainders[i].second] <= 0) continue;
    ++counts[remainders[i].second];
    ++given;
  }
  std::vector<Range> ranges;
  int64_t at = 0;
  for (int64_t count : counts) {
    const int64_t end = std::min(total, at + count * unit);
    ranges.push_back({at, end});
    at = end;
  }
  return ranges;
}

}  // namespace exo
