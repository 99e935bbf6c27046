// What a node's factor map (FactorMap) means for shardings: which factor is split, and what every operand and result must
// then look like. Shared by the verifier and the passes, so that they cannot disagree.
#pragma once

#include <functional>
#include <optional>

#include "ir/graph.h"

namespace exo {

/// What a node asks of its operands and gives to its results.
struct NodeSharding {
  std::vector<Sharding> operands, results;
};

/// Sharding of a value if known yet.
using KnownSharding = std::function<std::optional<Sharding>(ValueId)>;

/// Follows the split factor of the node: taken from a global operand (weight, cache) that is split, else from any known
/// operand, else from a known result. Without one, everything is replicated; with partial sums in all linear operands,
/// the result is partial too.
NodeSharding shardingRule(const Graph& graph, const Node& node, const KnownSharding& known);

/// Ranges in a dimension of `size` that go with `ranges` in one of `from_size` (heads and heads x head_dim); where they do
/// not divide, the cover: begin rounded down, end rounded up.
std::vector<Range> scaleRanges(const std::vector<Range>& ranges, int64_t from_size, int64_t size);

/// Error when the shardings of the node's operands and results are not those of its rule.
Status verifyRule(const Graph& graph, const Node& node);

}  // namespace exo
