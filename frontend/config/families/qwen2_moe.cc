// qwen2_moe: qwen2's attention; softmax router, and a shared expert behind a sigmoid gate, in the layers that
// decoder_sparse_step and mlp_only_layers choose.
#include "frontend/config/families/family.h"

#include <algorithm>

namespace exo {
namespace {

// Versions of transformers disagree on which layers an enabled window is meant for, and no published model enables it.
Status refuseWindow(const JsonObject& json, const ModelConfig& config) {
  EXO_ASSIGN(const bool use, json.booleanOr("use_sliding_window", false));
  if (use) return makeError(ErrorCode::kUnsupported, json.path("use_sliding_window"), ": expected false in family ", config.family, ", got true");
  EXO_ASSIGN(const auto types, readLayerTypes(json, config.num_layers));
  if (types && std::find(types->begin(), types->end(), true) != types->end())
    return json.expected("layer_types", "only full_attention, since use_sliding_window is false");
  return {};
}

Status readQwen2Moe(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("qkv_bias", true));
  EXO_TRY(refuseWindow(json, config));
  EXO_ASSIGN(MoeConfig moe, readExperts(json, 4, config.num_layers));
  EXO_ASSIGN(moe.intermediate_size, json.integer("moe_intermediate_size", {1, kMaxIntermediateSize}));
  EXO_ASSIGN(moe.shared_intermediate_size, json.integer("shared_expert_intermediate_size", {1, kMaxIntermediateSize}));
  moe.shared_gate = true;
  EXO_ASSIGN(moe.norm_topk_prob, json.booleanOr("norm_topk_prob", false));
  EXO_TRY(chooseSparseLayers(json, config, moe));
  config.moe = std::move(moe);
  return {};
}

}  // namespace

Family qwen2MoeFamily() {
  return {.defaults = {.family = "qwen2_moe", .num_kv_heads = 16, .own_keys = {"shared_expert_intermediate_size"}},
          .architecture = "Qwen2MoeForCausalLM",
          .readSpecific = readQwen2Moe};
}

}  // namespace exo
