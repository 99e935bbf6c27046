#pragma once

#include <span>
#include <string>

#include "ir/graph.h"

namespace exo {

/// Groups the nodes of a local graph into regions that threads run without meeting, and the nodes of a region into chains
/// that are divided over threads alike:
///  - by columns: matmuls side by side, each followed by what needs only the same columns of its result (a head for rope,
///    a block for quantize); a thread computes some columns of all rows through the whole chain;
///  - by rows: what needs only the same row;
///  - by rows, then by columns: what makes rows (norm, quantise) *leads* the matmuls that read them. It is the region's first
///    chain; threads make blocks of rows in turns, and a matmul goes on with those that are ready, so no barrier is between;
///  - by units of the op's own: attention, experts.
/// A region ends in a barrier. Names regions "<block>.<n>", sets each node's chain and grain, puts the nodes of a chain
/// behind each other and the sources of a region before it.
/// Needs: a local graph, after select_kernels.  Keeps: what every node computes.
Graph fuse(const Graph& graph);

/// One line for people: how the work of a region (adjacent nodes of one name) is divided. For dumps.
std::string explainRegion(const Graph& graph, std::span<const Node> nodes);

}  // namespace exo
