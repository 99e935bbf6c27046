// What glm4_moe and deepseek_v3 share: experts chosen by biased sigmoid scores, limited to groups, beside shared ones, behind
// dense layers.
#include "frontend/config/families/family.h"

namespace exo {

Status readGroupRouter(const JsonObject& json, MoeConfig& moe) {
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

Result<MoeConfig> readSharedExperts(const JsonObject& json, const ModelConfig& config) {
  EXO_ASSIGN(MoeConfig moe, readExperts(json, 8, config.num_layers));
  EXO_ASSIGN(moe.intermediate_size, json.integer("moe_intermediate_size", {1, kMaxIntermediateSize}));
  EXO_ASSIGN(const int64_t shared, json.integerOr("n_shared_experts", 1, {0, kMaxExperts}));
  moe.shared_intermediate_size = shared * moe.intermediate_size;
  EXO_TRY(readGroupRouter(json, moe));
  EXO_ASSIGN(const int64_t dense, json.integerOr("first_k_dense_replace", 1, {0, kMaxLayers}));
  for (int64_t layer = 0; layer < config.num_layers; ++layer) moe.is_sparse[static_cast<size_t>(layer)] = layer >= dense;
  return moe;
}

}  // namespace exo
