#pragma once

#include "ir/graph.h"

namespace exo {

/// Carries the annotated splits along equal factors (forwards and backwards) to a fixed point, then settles every other
/// value: replicated, or partial where a split factor was summed over (Shardy's propagation, on one mesh axis).
/// Needs: choose_parallelism's annotations. Keeps: shardings that are there. Every value has a sharding afterwards.
Graph propagateShardings(const Graph& graph);

}  // namespace exo
