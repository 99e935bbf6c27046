// qwen3: norms on q and k, heads of 128 unless said otherwise, attention_bias on q, k, v and o.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readQwen3(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", false));
  config.attention_output_bias = config.qkv_bias;
  config.qk_norm = true;
  return readQwenWindows(json, config);
}

}  // namespace

Family qwen3Family() {
  return {.defaults = {.family = "qwen3", .num_kv_heads = 32, .head_dim = 128},
          .architecture = "Qwen3ForCausalLM",
          .readSpecific = readQwen3};
}

}  // namespace exo
