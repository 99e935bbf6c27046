// What a decoder-only transformer is, whatever file said so: read from a Hugging Face config.json of the old style
// (rope_theta + rope_scaling, torch_dtype) or the new one (rope_parameters, dtype); both give equal ModelConfigs.
// Defaults of absent keys are those of transformers 5, per family. Sizes that decide the shape of weights have no
// default: a file without them is refused, since a guess would only fail later, against the checkpoint.
// Everything is checked: a ModelConfig in hand is sane (see kMaxX in common_config.h), and anything that would change
// the maths and is not understood has been refused by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/config/dtype.h"
#include "frontend/config/json_reader.h"
#include "frontend/config/quantization.h"
#include "frontend/config/rope.h"
#include "ir/base/result.h"

namespace exo {

/// kClampedSwiGlu: gate and up are clamped to activation_limit, and up counts from -1 (gpt-oss).
enum class Activation { kSilu, kGeluTanh, kClampedSwiGlu };

/// How a router scores its experts.
enum class RouterScore { kSoftmax, kSigmoid };

/// Where a layer's norms stand. kBefore: of attention and of MLP; kBehind: of both, in front of the sums; kBoth.
enum class NormPlaces { kBefore, kBehind, kBoth };

/// Mixture of experts: of the scores of all experts the top_k largest are used.
struct MoeConfig {
  int64_t num_experts = 0;
  int64_t top_k = 0;
  bool norm_topk_prob = false;    // the chosen weights are divided by their sum
  int64_t intermediate_size = 0;  // of one expert
  RouterScore score = RouterScore::kSoftmax;
  bool correction_bias = false;   // a vector that is added to the scores by which experts are chosen
  int64_t groups = 1;             // experts are chosen out of the top_groups best groups
  int64_t top_groups = 1;
  double scale = 1.0;             // of the chosen weights
  int64_t shared_intermediate_size = 0;  // of the expert that every token uses; 0: none
  bool router_bias = false, expert_bias = false;  // of the router's projection; of every expert's three
  bool shared_gate = false;       // its result is multiplied by the sigmoid of a projection
  std::vector<bool> is_sparse;    // per layer; false: an ordinary MLP of ModelConfig::intermediate_size
  friend bool operator==(const MoeConfig&, const MoeConfig&) = default;
};

/// Multi-head latent attention (DeepSeek-V2, 2024): keys and values of all heads come out of one latent vector per position,
/// which is all the cache keeps, beside one rotated key that all heads share. ModelConfig::head_dim is its rotated part.
struct LatentConfig {
  int64_t query_rank = 0;   // latent dimensions of the queries; 0: they are projected at once
  int64_t rank = 0;         // latent dimensions of keys and values
  int64_t key_dim = 0;      // of a head of query and key, without the rotated part
  int64_t value_dim = 0;    // of a head
  bool bias = false;        // on what makes the latent vectors, and on the output
  friend bool operator==(const LatentConfig&, const LatentConfig&) = default;
};

struct ModelConfig {
  std::string family;  // model_type: "llama", "qwen2", "qwen3", "mistral", …: the table of families/families.cc
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;      // even; num_heads · head_dim need not be hidden_size
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;  // tokens
  double rms_norm_eps = 0.0;
  Activation activation = Activation::kSilu;
  double activation_limit = 0.0;  // of kClampedSwiGlu
  bool tie_word_embeddings = false;  // the output projection is the embedding table
  bool qkv_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;
  bool attention_sinks = false;    // one more logit per head in the softmax, without a value
  bool qk_norm = false;  // RMS norm over each head of q and k, before rope
  bool qk_norm_joint = false;  // qk_norm is over all heads at once
  NormPlaces norms = NormPlaces::kBefore;
  double norm_offset = 0.0;       // norms multiply by offset + weight
  double embedding_scale = 1.0;
  double attention_soft_cap = 0.0, logit_soft_cap = 0.0;  // c·tanh(x/c) of scores, of logits; 0: none
  std::optional<double> query_scalar;   // scores are divided by its root; absent: head_dim
  std::optional<int64_t> rotary_dim;    // leading elements of a head that rotate; absent: head_dim
  bool fused_projections = false;       // q, k and v are one tensor of the checkpoint, gate and up another
  RopeConfig rope;
  std::optional<RopeConfig> window_rope;  // of layers with a window, where it differs
  /// Per layer: absent = all earlier positions; w: key j is visible to query i iff i - w < j ≤ i.
  std::vector<std::optional<int64_t>> sliding_window;
  std::optional<MoeConfig> moe;
  std::optional<LatentConfig> latent;
  int64_t extra_prediction_layers = 0;  // of the checkpoint, behind num_layers, that predict further tokens: not used
  std::vector<int64_t> bos_token_ids;
  std::vector<int64_t> eos_token_ids;
  std::optional<DType> dtype;  // of the published weights, when the file says; the checkpoint itself decides
  QuantizationConfig quantization;
  std::vector<std::string> ignored;  // parts of the file that are not for text, by name
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;

  int64_t rotaryDim() const { return rotary_dim.value_or(head_dim); }
  bool isSparse(int64_t layer) const { return moe && moe->is_sparse[static_cast<size_t>(layer)]; }
};

/// `where` names the source in errors.  Errors: kInvalidInput (wrong), kUnsupported (right, but not known here).
Result<ModelConfig> readModelConfig(const Json& json, const std::string& where);
Result<ModelConfig> parseModelConfig(std::string_view text, const std::string& where);

/// `path`: a config file, a directory with a config.json, or a GGUF file.
Result<ModelConfig> loadModelConfig(const std::filesystem::path& path);

/// The families readModelConfig knows, in the order of the table.
std::vector<std::string> knownFamilies();

struct ParameterCount {
  int64_t total = 0;
  int64_t active = 0;     // used for one token: as total, but of the experts of a layer only top_k
  int64_t embedding = 0;  // in both: embedding table, and output projection unless tied
};

/// Number of weights, biases and norms included; a tied table counts once.
ParameterCount countParameters(const ModelConfig& config);

}  // namespace exo
