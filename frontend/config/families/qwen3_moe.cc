// qwen3_moe: qwen3 with experts in the layers decoder_sparse_step and mlp_only_layers choose.
#include "frontend/config/families/family.h"

#include <algorithm>

namespace exo {
namespace {

// transformers ≥ 4.53 applies an enabled window to all layers, earlier versions from max_window_layers on. No
// published model enables it; where the two readings differ we do not guess.
Status readWindow(const JsonObject& json, ModelConfig& config) {
  EXO_ASSIGN(const bool use, json.booleanOr("use_sliding_window", false));
  EXO_ASSIGN(const int64_t first, json.integerOr("max_window_layers", 0, {0, kMaxLayers}));
  if (use && first > 0)
    return makeError(ErrorCode::kUnsupported, json.path("max_window_layers"),
                     ": expected 0 with use_sliding_window = true (versions of transformers disagree on others), got ", first);
  EXO_ASSIGN(std::optional<int64_t> window, json.findInteger("sliding_window", {1, kMaxPositions}));
  if (!json.contains("sliding_window")) window = 4096;
  if (use) std::fill(config.sliding_window.begin(), config.sliding_window.end(), window);
  return {};
}

Status readQwen3Moe(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", false));
  config.attention_output_bias = config.qkv_bias;
  config.qk_norm = true;
  EXO_TRY(readWindow(json, config));
  EXO_ASSIGN(MoeConfig moe, readExperts(json, 8, config.num_layers));
  EXO_ASSIGN(moe.intermediate_size, json.integer("moe_intermediate_size", {1, kMaxIntermediateSize}));
  EXO_ASSIGN(moe.norm_topk_prob, json.booleanOr("norm_topk_prob", false));
  EXO_TRY(chooseSparseLayers(json, config, moe));
  config.moe = std::move(moe);
  return {};
}

}  // namespace

Status chooseSparseLayers(const JsonObject& json, const ModelConfig& config, MoeConfig& moe) {
  EXO_ASSIGN(const int64_t step, json.integerOr("decoder_sparse_step", 1, {1, kMaxLayers}));
  EXO_ASSIGN(const auto dense, json.findIntegers("mlp_only_layers", {0, config.num_layers - 1}));
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    moe.is_sparse[static_cast<size_t>(layer)] = (layer + 1) % step == 0;
  if (!dense) return {};
  for (const int64_t layer : *dense) moe.is_sparse[static_cast<size_t>(layer)] = false;
  return {};
}

Family qwen3MoeFamily() {
  return {.defaults = {.family = "qwen3_moe", .num_kv_heads = 4},
          .architecture = "Qwen3MoeForCausalLM",
          .readSpecific = readQwen3Moe};
}

}  // namespace exo
