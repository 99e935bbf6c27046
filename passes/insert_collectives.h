#pragma once

#include "ir/graph.h"

namespace exo {

/// Makes every change of sharding explicit: all_reduce behind partial sums (once, behind their producer), top_k_merge behind
/// partial candidates, all_gather where a whole value is needed of a split one, transfer where another stage reads a value.
/// Outputs end replicated on stage 0.
/// Needs: shardings on all values, else error kInvalidInput. Error kUnsupported where a replicated value would have to be cut (name and rule given).
Result<Graph> insertCollectives(const Graph& graph);

}  // namespace exo
