// gpt_oss: biases everywhere, attention sinks, a window on every other layer from the first on, experts whose SwiGLU is clamped.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

/// The first releases wrote the number of experts under two names.
Status checkOldNames(const JsonObject& json, const MoeConfig& moe) {
  EXO_ASSIGN(const int64_t experts, json.integerOr("experts_per_token", moe.top_k));
  if (experts == moe.top_k) return {};
  return json.expected("experts_per_token", "the same as num_experts_per_tok = " + std::to_string(moe.top_k));
}

Status readGptOss(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  // Without the key, some readers assume yarn and others none.
  if (!json.has("rope_scaling") && !json.has("rope_parameters")) return json.expected("rope_scaling", "the rotary parameters of family gpt_oss");
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", true));
  config.attention_output_bias = config.qkv_bias;
  config.attention_sinks = true;
  config.activation = Activation::kClampedSwiGlu;
  EXO_ASSIGN(config.activation_limit, json.numberOr("swiglu_limit", 7.0, {1e-3, 1e6}));
  EXO_ASSIGN(const int64_t window, json.integerOr("sliding_window", 128, {1, kMaxPositions}));
  EXO_ASSIGN(const auto types, readLayerTypes(json, config.num_layers));
  for (size_t layer = 0; layer < config.sliding_window.size(); ++layer)
    if (types ? (*types)[layer] : layer % 2 == 0) config.sliding_window[layer] = window;
  EXO_ASSIGN(MoeConfig moe, readExperts(json, 4, config.num_layers));
  EXO_TRY(checkOldNames(json, moe));
  moe.norm_topk_prob = true;  // a softmax over the chosen logits is that over all, divided by the sum of the chosen
  moe.router_bias = moe.expert_bias = true;
  moe.intermediate_size = config.intermediate_size;
  config.moe = std::move(moe);
  return {};
}

}  // namespace

Family gptOssFamily() {
  return {.defaults = {.family = "gpt_oss",
                       .num_kv_heads = 8,
                       .head_dim = 64,
                       .rms_norm_eps = 1e-5,
                       .rope_theta = 150000.0,
                       .max_position_embeddings = 131072,
                       .own_keys = {"swiglu_limit"}},
          .architecture = "GptOssForCausalLM",
          .readSpecific = readGptOss};
}

}  // namespace exo
