// Repeated measurements in few words: median with the smallest and the largest.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace exo::bench {

struct Spread {
  double low = 0, median = 0, high = 0;
};

/// `fraction` in [0, 1] of the samples are smaller; 0 without samples.
inline double quantile(std::vector<double> samples, double fraction) {
  if (samples.empty()) return 0;
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>(fraction * static_cast<double>(samples.size() - 1));
  std::nth_element(samples.begin(), at, samples.end());
  return *at;
}

inline Spread spreadOf(const std::vector<double>& samples) { return {quantile(samples, 0), quantile(samples, 0.5), quantile(samples, 1)}; }

/// "28.1 (27.9..28.4)"
inline std::string text(const Spread& spread, int decimals) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, "%.*f (%.*f..%.*f)", decimals, spread.median, decimals, spread.low, decimals, spread.high);
  return buffer;
}

}  // namespace exo::bench
