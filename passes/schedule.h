#pragma once

#include "ir/graph.h"

namespace exo {

/// Orders a local graph for running: sources first (weights, caches, tables are bound, not run), then regions; sends move up
/// to right behind the region that made their value, so that the next stage starts early.
/// Needs: regions. Keeps: nodes, and the order of collectives among themselves (messages are matched by order).
Graph schedule(const Graph& graph);

}  // namespace exo
