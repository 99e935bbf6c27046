// glm4_moe (GLM-4.5): dense layers first, then experts chosen by biased sigmoid scores, limited to groups, beside shared
// ones; half of each head rotates. Layers for the prediction of further tokens (num_nextn_predict_layers) are not used.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readRouter(const JsonObject& json, MoeConfig& moe) {
  moe.score = RouterScore::kSigmoid;
  moe.correction_bias = true;
  EXO_ASSIGN(moe.norm_topk_prob, json.booleanOr("norm_topk_prob", true));
  EXO_ASSIGN(moe.scale, json.numberOr("routed_scaling_factor", 1.0, {1e-6, 1e6}));
  EXO_ASSIGN(moe.groups, json.integerOr("n_group", 1, {1, moe.num_experts}));
  EXO_ASSIGN(moe.top_groups, json.integerOr("topk_group", 1, {1, moe.groups}));
  if (moe.num_experts % moe.groups != 0) return json.expected("n_group", "a divisor of n_routed_experts = " + std::to_string(moe.num_experts));
  const int64_t eligible = moe.num_experts / moe.groups * moe.top_groups;
  if (moe.top_k > eligible)
    return json.expected("num_experts_per_tok", "at most the " + std::to_string(eligible) + " experts of topk_group = " + std::to_string(moe.top_groups) + " groups");
  return {};
}

Status readGlm4Moe(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", false));
  EXO_ASSIGN(config.qk_norm, json.booleanOr("use_qk_norm", false));
  EXO_TRY(refuseSlidingWindow(json, config));
  EXO_ASSIGN(MoeConfig moe, readExperts(json, 8, config.num_layers));
  EXO_ASSIGN(moe.intermediate_size, json.integer("moe_intermediate_size", {1, kMaxIntermediateSize}));
  EXO_ASSIGN(const int64_t shared, json.integerOr("n_shared_experts", 1, {0, kMaxExperts}));
  moe.shared_intermediate_size = shared * moe.intermediate_size;
  EXO_TRY(readRouter(json, moe));
  EXO_ASSIGN(const int64_t dense, json.integerOr("first_k_dense_replace", 1, {0, kMaxLayers}));
  for (int64_t layer = 0; layer < config.num_layers; ++layer) moe.is_sparse[static_cast<size_t>(layer)] = layer >= dense;
  config.moe = std::move(moe);
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
