// The text form: print and parse round-trip (`parse(print(m)) == m`, and printing is canonical).
//
//   graph @llama mesh(tp = 2) {
//     block layers.0 stage 0
//       @layers.0.q_proj = weight {tensor = "model.layers.0.self_attn.q_proj.weight", ...} : w4[64, 64] {tp: split(0, [32, 32])}
//       %q = matmul %n, @layers.0.q_proj : f32[T, 64] {tp: split(1, [32, 32])}
//     return %values, %ids
//   }
// A local graph says `rank 1 of mesh(...)`; after fuse, `region NAME` lines (`region none` ends one) and in them
// `chain columns N` or `chain`, where another chain of nodes begins; after plan_memory, `at OFFSET` after the type.
// Lines that start with // are comments and are dropped.
#pragma once

#include <string>
#include <string_view>

#include "ir/graph.h"

namespace exo {

constexpr std::string_view kNoRegion = "none";

std::string print(const Graph& graph);
std::string print(const Module& module);
/// Prints one node's line, for errors and `dump`.
std::string print(const Graph& graph, const Node& node);

/// Error kInvalidInput with "FILE:LINE:COLUMN: expected ..., got ...". Types are checked against each op's inference.
Result<Module> parseModule(std::string_view text, const std::string& file = "<text>");

}  // namespace exo
