#pragma once

#include "passes/pass.h"

namespace exo {

/// Gives every block its stage and annotates the weights and caches that are split: query/key/value projections and the KV
/// cache by KV-head group, gate and up projections by column, embedding and output head by vocabulary. Everything else
/// follows by propagation. Where a split has to be given up, `notes` says so.
/// Needs: a canonical global graph. Keeps: values. Adds: a copy of a weight that two stages use (tied embeddings).
/// Error kInvalidInput when the plan does not cover the blocks.
Result<Graph> chooseParallelism(const Graph& graph, const ParallelPlan& plan, Notes& notes);

}  // namespace exo
