// deepseek_v3 (DeepSeek-AI 2024) and kimi_k2 (Moonshot AI 2025), which is the same network: multi-head latent attention, dense
// layers first, then experts chosen by biased sigmoid scores, limited to groups, beside shared ones. Layers for the prediction
// of further tokens (num_nextn_predict_layers) are not used.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

/// A key that, where it is given, must say what the network does anyway.
Status only(const JsonObject& json, const std::string& key, const std::string& known) {
  EXO_ASSIGN(const std::string text, json.stringOr(key, known));
  if (text == known) return {};
  return makeError(ErrorCode::kUnsupported, json.path(key), ": expected ", describe(Json(known)), ", got ", describe(Json(text)));
}

Result<LatentConfig> readLatent(const JsonObject& json) {
  LatentConfig latent;
  if (!json.contains("q_lora_rank")) return json.expected("q_lora_rank", "a number, or null for queries that are projected at once");
  EXO_ASSIGN(latent.query_rank, json.integerOr("q_lora_rank", 0, {1, kMaxHiddenSize}));
  EXO_ASSIGN(latent.rank, json.integer("kv_lora_rank", {1, kMaxHeadDim}));
  EXO_ASSIGN(latent.key_dim, json.integer("qk_nope_head_dim", {1, kMaxHeadDim}));
  EXO_ASSIGN(latent.value_dim, json.integer("v_head_dim", {1, kMaxHeadDim}));
  EXO_ASSIGN(latent.bias, json.booleanOr("attention_bias", false));
  return latent;
}

/// yarn's mscale_all_dim: scores are multiplied by the square of what it makes of the factor.
void scaleScores(ModelConfig& config) {
  const double key_dim = static_cast<double>(config.latent->key_dim + config.head_dim);
  const double scale = config.rope.type == RopeType::kYarn && config.rope.mscale_all_dim != 0.0 ? yarnScale(config.rope.factor, config.rope.mscale_all_dim) : 1.0;
  config.query_scalar = key_dim / (scale * scale * scale * scale);
}

Status readDeepseekV3(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_TRY(refuseSlidingWindow(json, config));
  EXO_TRY(only(json, "scoring_func", "sigmoid"));
  EXO_TRY(only(json, "topk_method", "noaux_tc"));
  EXO_ASSIGN(const bool interleaved, json.booleanOr("rope_interleave", true));
  if (!interleaved) return makeError(ErrorCode::kUnsupported, json.path("rope_interleave"), ": expected true, got false");
  if (config.num_kv_heads != config.num_heads) return json.expected("num_key_value_heads", "num_attention_heads = " + std::to_string(config.num_heads));
  EXO_ASSIGN(const auto query_key_dim, json.findInteger("qk_head_dim", {1, 2 * kMaxHeadDim}));
  EXO_ASSIGN(config.latent, readLatent(json));
  if (query_key_dim && *query_key_dim != config.latent->key_dim + config.head_dim)
    return json.expected("qk_head_dim", "qk_nope_head_dim + qk_rope_head_dim = " + std::to_string(config.latent->key_dim + config.head_dim));
  scaleScores(config);
  EXO_ASSIGN(MoeConfig moe, readSharedExperts(json, config));
  config.moe = std::move(moe);
  EXO_ASSIGN(config.extra_prediction_layers, json.integerOr("num_nextn_predict_layers", 0, {0, kMaxLayers}));
  return {};
}

Family family(const std::string& name) {
  return {.defaults = {.family = name,
                       .head_dim_key = "qk_rope_head_dim",
                       .max_position_embeddings = 4096,
                       .own_keys = {"q_lora_rank", "kv_lora_rank", "n_routed_experts", "n_shared_experts", "routed_scaling_factor", "n_group", "scoring_func", "first_k_dense_replace"}},
          .architecture = "DeepseekV3ForCausalLM",
          .readSpecific = readDeepseekV3};
}

}  // namespace

Family deepseekV3Family() { return family("deepseek_v3"); }
Family kimiK2Family() { return family("kimi_k2"); }

}  // namespace exo
