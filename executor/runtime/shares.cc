#include "executor/runtime/shares.h"

#include <algorithm>
#include <cmath>

namespace exo::runtime {

std::vector<UnitRange> sharesOf(std::span<const ChainWork> chains, int threads) {
  double total = 0;
  for (const ChainWork& chain : chains) total += static_cast<double>(chain.units) * chain.unit_work;
  std::vector<UnitRange> shares(chains.size() * static_cast<size_t>(threads));
  double before = 0;
  for (size_t c = 0; c < chains.size(); ++c) {
    const auto units = static_cast<double>(chains[c].units);
    const auto border = [&](int thread) {
      if (thread == threads) return chains[c].units;
      if (thread == 0) return int64_t{0};
      if (chains[c].unit_work == 0) return chains[c].units;   // nothing to weigh: all the first thread's
      const double place = (total * thread / threads - before) / chains[c].unit_work;
      return static_cast<int64_t>(std::clamp(std::floor(place + 0.5), 0.0, units));
    };
    for (int thread = 0; thread < threads; ++thread) shares[static_cast<size_t>(thread) * chains.size() + c] = {border(thread), border(thread + 1)};
    before += units * chains[c].unit_work;
  }
  return shares;
}

}  // namespace exo::runtime
