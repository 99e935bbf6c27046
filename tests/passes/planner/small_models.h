// Decoders for planner tests, as small or as large as a case wants.
#pragma once

#include "ir/graph.h"
#include "passes/parallel_plan.h"

namespace exo {

struct ModelShape {
  int64_t layers = 2, hidden = 64, heads = 4, kv_heads = 2, head_dim = 16, ffn = 128, vocab = 96;
  int64_t experts = 0, experts_per_token = 0;  // 0: dense
  Encoding weights = Encoding::kF32;
  bool tied = false;
};

/// Blocks "embed", "layers.0" ..., "head".
Graph decoder(const ModelShape& shape);

/// Nodes n0, n1, ... on hosts of their own, with these memory sizes (GiB) and read rates (GB/s), 1 TFLOP/s each.
Topology machines(const std::vector<double>& memory_gib, const std::vector<double>& read_gb_per_s);

}  // namespace exo
