// The verifier that runs after every pass: structure, types, and what each stage of the pipeline promises.
#pragma once

#include "ir/graph.h"

namespace exo {

enum class Stage {
  kImported,    // types hold, annotations fit them, caches are filled and read in one block
  kSharded,     // every value has a sharding that fits its type, and every op's operands and results agree with its rule
  kPartitioned  // local graphs, one per rank: no sharding, no transfer
};

/// Error names the node and the rule.
Status verify(const Graph& graph, Stage stage = Stage::kImported);
Status verify(const Module& module, Stage stage = Stage::kImported);

}  // namespace exo
