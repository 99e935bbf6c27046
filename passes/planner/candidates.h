// Arrangements of nodes into pipeline stages that are worth a look, and where to cut the layers between them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "passes/planner/planner.h"

namespace exo {

/// Nodes of each stage, first stage first.
using Arrangement = std::vector<std::vector<int>>;

constexpr int kMostAutoNodes = 64;

/// For `auto`: prefixes of the nodes sorted by speed and by memory, in a few orders and group sizes (all of them for few
/// nodes). Every arrangement once. For the others: the same number of nodes and stages as asked, in the sensible orders.
/// Error kInvalidInput if there are too few nodes or layers.
Result<std::vector<Arrangement>> arrangements(const Rates& rates, const Strategy& strategy, int num_units, std::vector<std::string>& notes);

enum class Cut {
  kBalanced,  // the slowest stage as quick as possible: throughput and prefill
  kFill       // every stage takes what its memory holds, first ones first: the quickest nodes do most of the work
};
/// First units of the stages and the number of units at the end; nothing if the layers do not fit.
std::optional<std::vector<int>> cutUnits(const CostModel& model, const std::vector<Group>& groups, Cut cut, MemoryLimit limit);

/// "tp2pp2 on a, b | c, d"
std::string nameOf(const Arrangement& arrangement, const Rates& rates);

}  // namespace exo
