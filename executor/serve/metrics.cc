#include "executor/serve/metrics.h"

namespace exo::serve {

void DurationHistogram::observe(double seconds) {
  sum += seconds;
  for (size_t i = 0; i < kBounds.size(); ++i) counts[i] += seconds <= kBounds[i] ? 1 : 0;
  ++counts.back();
}

}  // namespace exo::serve
