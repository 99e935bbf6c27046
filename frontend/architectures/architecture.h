// From a configuration to the global graph of the model: one file per family, one table (architectures.cc).
// A family's file composes the blocks of decoder.h; what it needs beyond them it adds there as a block of its own.
#pragma once

#include <functional>
#include <string>

#include "frontend/config/model_config.h"
#include "ir/graph.h"

namespace exo {

/// How the graph is to be built, besides the configuration.
struct ImportOptions {
  std::string name;                        // of the graph
  int64_t max_context = 0;                 // positions per sequence
  int64_t candidates = 64;                 // best logits kept for sampling, at most the vocabulary
  /// Encoding in which a matmul weight or embedding table is to be held, by its name in the checkpoint.
  std::function<Encoding(const std::string& tensor)> encoding;
  Encoding cache = Encoding::kF16;         // of the KV cache: f16 or f32
  std::string embedding = "model.embed_tokens.weight";  // the tensor with the embedding table
};

/// The graph of one step over a ragged batch. Outputs: values f32[R, k] and ids i32[R, k] of the best next tokens.
/// Error kUnsupported for a family that is not in the table.
Result<Graph> buildGraph(const ModelConfig& config, const ImportOptions& options);

}  // namespace exo
