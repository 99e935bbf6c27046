// The blocks decoder-only transformers are made of, on top of ir's builder. Tensor names are those of published
// checkpoints; value names are the same without "model." and ".weight".
// H hidden size, I ffn size, E experts, D head dim, V vocabulary, T tokens, R rows whose logits are asked for.
#pragma once

#include <string>

#include "frontend/architectures/architecture.h"

namespace exo {

class DecoderBuilder {
 public:
  DecoderBuilder(const ModelConfig& config, const ImportOptions& options);

  /// Block "embed": tokens → f32[T, H].
  ValueId embed();
  /// Block "layers.<i>" is opened by the caller with `layer`.
  void layer(int64_t index);
  /// x + attention(norm(x)): projections with their biases, qk-norm if the family has it, rope, KV cache, window.
  ValueId attention(ValueId x);
  /// x + down(silu(gate(norm(x))) * up(norm(x))).
  ValueId denseMlp(ValueId x);
  /// Names of a mixture's tensors below the layer: "mlp.gate", "mlp.experts.*.gate_proj", ...
  struct MoeNames {
    std::string router, gate, up, down;
  };
  /// x + sum over the chosen experts.
  ValueId sparseMlp(ValueId x, const MoeNames& names);
  /// Block "head": final norm of the asked rows, logits, best candidates. Ends the graph.
  Graph head(ValueId x) &&;

 private:
  ValueId norm(const std::string& tensor, ValueId x);
  ValueId linear(const std::string& tensor, ValueId x, int64_t rows, int64_t columns, bool bias);
  ValueId matrix(const std::string& tensor, int64_t rows, int64_t columns);
  ValueId vector(const std::string& tensor, int64_t size);
  ValueId stack(const std::string& pattern, int64_t rows, int64_t columns);
  ValueId headNorm(const std::string& tensor, ValueId x);
  ValueId rope(const std::string& name, ValueId x);
  std::string inLayer(const std::string& name) const { return prefix_ + name; }

  const ModelConfig& config_;
  const ImportOptions& options_;
  Builder builder_;
  ValueId tokens_, positions_, rows_, rope_table_;
  ValueId table_ = -1;          // the embedding table
  double rope_scale_ = 1;
  std::string prefix_;          // "model.layers.<i>."
  int64_t layer_ = 0;
};

/// Embedding, layers of attention and MLP (sparse where the configuration says), head.
Graph buildDecoder(const ModelConfig& config, const ImportOptions& options, const DecoderBuilder::MoeNames* moe);

}  // namespace exo
