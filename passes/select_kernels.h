#pragma once

#include "ir/graph.h"

namespace exo {

/// Gives matmuls with w8 and w4 weights int8 activations: one `quantize` per value behind its maker, shared by all its readers.
/// Needs: a local graph.  Keeps: everything else.
Graph selectKernels(const Graph& graph);

}  // namespace exo
