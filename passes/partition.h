#pragma once

#include "ir/graph.h"

namespace exo {

/// One local graph per rank: local shapes, weight slices, offsets (vocabulary, heads), sends and receives for transfers.
/// Closes with the coverage proof. Needs: a sharded graph with explicit collectives (verified: Stage::kSharded).
Result<Module> partition(const Graph& graph);

/// Proves that every element of every weight of `global` is owned by exactly the ranks its sharding says, and every
/// compute node of `global` runs on every rank of its stage and nowhere else. Error names the weight or node.
Status proveCoverage(const Graph& global, const Module& local);

}  // namespace exo
