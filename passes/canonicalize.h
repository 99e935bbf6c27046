#pragma once

#include "ir/graph.h"

namespace exo {

/// Merges equal pure nodes and drops nodes whose results nobody uses.
/// Needs: an imported graph. Keeps: outputs, order, names of what stays. Cost: one sweep each.
Graph canonicalize(const Graph& graph);

}  // namespace exo
