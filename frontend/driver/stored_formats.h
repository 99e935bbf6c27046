// In which formats a checkpoint keeps the weights of a graph, in which encodings they are held, and what that costs.
#pragma once

#include <string>
#include <vector>

#include "frontend/checkpoint/checkpoint.h"
#include "ir/graph.h"

namespace exo {

/// One line per format and encoding, the largest first. Vectors (norms, biases) are held in f32 and left out.
std::vector<std::string> storedFormats(const Graph& graph, const Checkpoint& checkpoint);

}  // namespace exo
