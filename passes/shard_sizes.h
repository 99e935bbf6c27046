// How a dimension is divided among ranks with unequal shares.
#pragma once

#include <vector>

#include "ir/sharding.h"

namespace exo {

/// Ranges that cover [0, total) in units of `unit` (the last may be shorter), each as near its share as whole units allow
/// (largest remainder; ties to the lower rank). Shares need not be normalised; a zero share gets nothing. Deterministic.
std::vector<Range> splitByShares(int64_t total, int64_t unit, const std::vector<double>& shares);

}  // namespace exo
