#pragma once

#include "ir/graph.h"

namespace exo {

/// Groups the nodes of a local graph into regions that threads run without meeting: independent nodes side by side, and
/// chains in which each row needs only the same row. Every region ends in one barrier. Names regions "<block>.<n>".
/// Needs: a local graph. Keeps: nodes and order.
Graph fuse(const Graph& graph);

}  // namespace exo
