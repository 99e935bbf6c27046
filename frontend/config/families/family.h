// One entry per model family: how its config.json differs from the common part. A new family is one new file here
// and one line in families.cc.
#pragma once

#include <span>
#include <string>

#include "frontend/config/common_config.h"

namespace exo {

struct Family {
  FamilyDefaults defaults;   // defaults.family is the model_type
  std::string architecture;  // as in "architectures", for files without model_type
  /// Fills what readCommon leaves open: biases, windows, experts.
  Status (*readSpecific)(const JsonObject& json, ModelConfig& config);
};

std::span<const Family> families();

Family deepseekV3Family();
Family gemma2Family();
Family gemma3TextFamily();
Family glm4MoeFamily();
Family gptOssFamily();
Family kimiK2Family();
Family llamaFamily();
Family mistralFamily();
Family mixtralFamily();
Family olmo2Family();
Family phi3Family();
Family qwen2Family();
Family qwen2MoeFamily();
Family qwen3Family();
Family qwen3MoeFamily();

/// Routers that choose by sigmoid scores and a correction, out of the best groups (DeepSeek-V3): norm_topk_prob,
/// routed_scaling_factor, n_group, topk_group.
Status readGroupRouter(const JsonObject& json, MoeConfig& moe);

/// Experts beside n_shared_experts shared ones, behind first_k_dense_replace dense layers.
Result<MoeConfig> readSharedExperts(const JsonObject& json, const ModelConfig& config);

/// Windows of qwen2 and qwen3: layer_types if given; else layers from max_window_layers on, if use_sliding_window.
Status readQwenWindows(const JsonObject& json, ModelConfig& config);

/// Sparse layers of qwen's mixtures: decoder_sparse_step and mlp_only_layers.
Status chooseSparseLayers(const JsonObject& json, const ModelConfig& config, MoeConfig& moe);

/// What gemma2 and gemma3 share: norms, scales, soft caps (`attention_cap` and `logit_cap`: 0 for none; what missing keys
/// mean), windows of `default_window` on the layers that layer_types says, or on all but each `pattern`-th.
struct GemmaDefaults {
  double attention_cap, logit_cap;
  int64_t window, pattern;
};
Status readGemma(const JsonObject& json, const GemmaDefaults& defaults, ModelConfig& config);

/// Windows of mistral and mixtral: sliding_window in all layers; `absent` is what a missing key means.
Status readUniformWindow(const JsonObject& json, std::optional<int64_t> absent, ModelConfig& config);

}  // namespace exo
