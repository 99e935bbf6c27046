// glm4_moe (GLM-4.5): dense layers first, then experts chosen by biased sigmoid scores, limited to groups, beside shared
// ones; half of each head rotates. Layers for the prediction of further tokens (num_nextn_predict_layers) are not used.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readGlm4Moe(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", false));
  EXO_ASSIGN(config.qk_norm, json.booleanOr("use_qk_norm", false));
  EXO_TRY(refuseSlidingWindow(json, config));
  EXO_ASSIGN(MoeConfig moe, readSharedExperts(json, config));
  config.moe = std::move(moe);
  EXO_ASSIGN(config.extra_prediction_layers, json.integerOr("num_nextn_predict_layers", 0, {0, kMaxLayers}));
  return {};
}

}  // namespace

Family glm4MoeFamily() {
  return {.defaults = {.family = "glm4_moe",
                       .num_kv_heads = 8,
                       .rms_norm_eps = 1e-5,
                       .max_position_embeddings = 131072,
                       .partial_rotary_factor = 0.5,
                       .own_keys = {"partial_rotary_factor", "use_qk_norm", "n_routed_experts", "n_shared_experts", "routed_scaling_factor", "n_group", "first_k_dense_replace"}},
          .architecture = "Glm4MoeForCausalLM",
          .readSpecific = readGlm4Moe};
}

}  // namespace exo
