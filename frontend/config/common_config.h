// The part of config.json that all decoder families share, and the defaults in which they differ.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "frontend/config/json_reader.h"
#include "frontend/config/model_config.h"
#include "ir/base/result.h"

namespace exo {

// Bounds of belief, about two orders of magnitude beyond the largest published models: sizes come from untrusted
// files, and every table and loop over layers, heads or experts is bounded by these.
constexpr int64_t kMaxHiddenSize = 1 << 20;
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxHeads = 1 << 16;
constexpr int64_t kMaxHeadDim = 1 << 16;
constexpr int64_t kMaxIntermediateSize = 1 << 24;
constexpr int64_t kMaxVocabSize = 1 << 27;
constexpr int64_t kMaxPositions = int64_t{1} << 31;
constexpr int64_t kMaxExperts = 1 << 16;
constexpr int64_t kMaxParameters = 1'000'000'000'000'000;  // 10^15; below 2^53, so that f64 counts are exact

/// What transformers assumes for keys a file lacks.
struct FamilyDefaults {
  std::string family;
  std::optional<int64_t> vocab_size, num_heads;  // without a default they must be in the file
  std::optional<int64_t> num_kv_heads;  // absent key; null in the file always means num_heads
  std::optional<int64_t> head_dim;      // otherwise hidden_size / num_heads
  std::string head_dim_key = "head_dim";  // another one must be there
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  int64_t max_position_embeddings = 32768;
  bool tie_word_embeddings = false;
  Activation activation = Activation::kSilu;
  std::optional<double> partial_rotary_factor;  // absent: heads are rotated whole, and a file that says otherwise is refused
  bool rope_by_layers = false;                  // rope_parameters may have one set for full_attention, one for sliding_attention
  std::vector<std::string> own_keys;            // of foreign_keys.cc: those that this family reads itself
  std::vector<int64_t> bos_token_ids;
  std::vector<int64_t> eos_token_ids;
};

/// Sizes, norm, rope, ids, dtype, all checked; no biases, no windows (one absent entry per layer), no experts.
/// Refuses quantisations that are not known, and known keys of other architectures that would change the result.
Result<ModelConfig> readCommon(const JsonObject& json, const FamilyDefaults& defaults);

/// Old and new style; `rotary_dim`: elements of a head that rotate, as readRotaryDim has it.
Result<RopeConfig> readRope(const JsonObject& json, const FamilyDefaults& defaults, int64_t max_position_embeddings,
                            int64_t rotary_dim);

/// The rotary base of layers with a window: `key`, or rope_parameters.sliding_attention, which may be of type default only.
Result<double> readWindowTheta(const JsonObject& json, const std::string& key, double fallback);

/// Elements of a head of `head_dim` that rotate.  Error unless even, at least 2 and at most head_dim.
Result<int64_t> readRotaryDim(const JsonObject& json, const FamilyDefaults& defaults, int64_t head_dim);

/// Error if the file sets a bias flag that this family does not have.
Status refuseFlag(const JsonObject& json, const std::string& key, const std::string& family);

/// layer_types as one bool per layer (true: sliding_attention), if present.  Error: wrong length, other kinds.
Result<std::optional<std::vector<bool>>> readLayerTypes(const JsonObject& json, int64_t num_layers);

/// Error if the file asks for a window, in a family that has none.
Status refuseSlidingWindow(const JsonObject& json, const ModelConfig& config);

/// Experts as qwen and mixtral write them: num_experts (aliases num_local_experts, n_routed_experts), num_experts_per_tok.
/// Sets num_experts and top_k, all layers sparse.
Result<MoeConfig> readExperts(const JsonObject& json, int64_t default_top_k, int64_t num_layers);

/// Error if the model is larger than kMaxParameters.
Status checkParameterCount(const JsonObject& json, const ModelConfig& config);

}  // namespace exo
