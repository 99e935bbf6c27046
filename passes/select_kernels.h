#pragma once

#include "ir/graph.h"

namespace exo {

/// Gives matmuls with w8 and w4 weights int8 activations: one `quantize` per value, shared by all its readers, in the region
/// that made it when that works row by row, else in a region of its own behind it ("<region>.q").
/// Needs: regions. Keeps: everything else.
Graph selectKernels(const Graph& graph);

}  // namespace exo
