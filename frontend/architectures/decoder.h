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
  /// x + attention(norm(x)): projections with their biases, qk-norm if the family has it, rope, KV cache, window. Norms
  /// stand where the configuration says, here and below.
  ValueId attention(ValueId x);
  /// The same with latent attention (LatentConfig), absorbed: queries are taken into the latent space of keys and values, and what
  /// they attend to out of it, head by head. So the cache holds a latent vector and a rotated key per position.
  ValueId latentAttention(ValueId x);
  /// x + down(act(gate(norm(x))) * up(norm(x))).
  ValueId denseMlp(ValueId x);
  /// Names of a mixture's tensors below the layer: "mlp.gate", "mlp.experts.*.gate_proj", ... `shared`: what the names of
  /// the shared expert's projections begin with; `shared_gate`: the projection whose sigmoid is its share.
  struct MoeNames {
    std::string router, gate, up, down, shared = {}, shared_gate = {};
  };
  /// x + sum over the chosen experts, and the shared one.
  ValueId sparseMlp(ValueId x, const MoeNames& names);
  /// Block "head": final norm of the asked rows, logits, best candidates. Ends the graph.
  Graph head(ValueId x) &&;

 private:
  /// A rotary table and what cos and sin are multiplied by.
  struct Rope {
    ValueId table = -1;
    double scale = 1;
  };
  /// Which rows of which tensor a projection is; begin and of are 0 for a tensor of its own.
  struct Part {
    std::string tensor;
    int64_t begin = 0, of = 0;
  };

  Rope makeRope(const std::string& name, const RopeConfig& rope);
  ValueId norm(const std::string& tensor, ValueId x);
  ValueId latentNorm(const std::string& tensor, ValueId x, int64_t size);
  ValueId normBefore(const std::string& name, ValueId x);
  ValueId normBehind(const std::string& name, ValueId x);
  std::string mlpNorm() const;
  ValueId linear(const std::string& tensor, ValueId x, int64_t rows, int64_t columns, bool bias);
  ValueId projection(const std::string& name, const Part& part, ValueId x, int64_t rows, int64_t columns, bool bias);
  ValueId f32Linear(const std::string& tensor, ValueId x, int64_t rows);
  ValueId gatedMlp(const std::string& name, ValueId x, int64_t ffn, bool bias);
  ValueId gated(const std::string& name, ValueId gate, ValueId up);
  /// The chosen experts' weighted sum without the biases of their down projections, and those (-1: they have none).
  struct Routed {
    ValueId sum = -1, bias = -1;
  };
  Routed routedExperts(ValueId n, const MoeNames& names);
  ValueId sharedExpert(ValueId n, const MoeNames& names);
  ValueId matrix(const std::string& tensor, int64_t rows, int64_t columns);
  ValueId vector(const std::string& tensor, int64_t size);
  ValueId vectorPart(const std::string& name, const Part& part, int64_t size);
  ValueId vectorStack(const std::string& pattern, int64_t size);
  ValueId stack(const std::string& pattern, int64_t rows, int64_t columns);
  ValueId latentQuery(ValueId n);
  ValueId latentKey(ValueId n);
  ValueId perHead(const std::string& part, ValueId x, int64_t head_dim, int64_t rows, int64_t columns);
  ValueId attended(ValueId x, ValueId heads, int64_t width, bool bias);
  ValueId queryNorm(const std::string& tensor, ValueId x);
  ValueId rope(const std::string& name, ValueId x);
  std::string inLayer(const std::string& name) const { return prefix_ + name; }

  const ModelConfig& config_;
  const ImportOptions& options_;
  Builder builder_;
  ValueId tokens_, positions_, rows_;
  Rope rope_, window_rope_;     // of layers without and with a window
  ValueId table_ = -1;          // the embedding table
  std::string prefix_;          // "model.layers.<i>."
  int64_t layer_ = 0;
};

/// Embedding, layers of attention and MLP (sparse where the configuration says), head.
Graph buildDecoder(const ModelConfig& config, const ImportOptions& options, const DecoderBuilder::MoeNames* moe);

}  // namespace exo
