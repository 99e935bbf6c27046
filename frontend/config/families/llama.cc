// llama: attention_bias is on q, k, v and o; mlp_bias on gate, up and down; no windows.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readLlama(const JsonObject& json, ModelConfig& config) {
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", false));
  config.attention_output_bias = config.qkv_bias;
  EXO_ASSIGN(config.mlp_bias, json.booleanOr("mlp_bias", false));
  return refuseSlidingWindow(json, config);
}

}  // namespace

Family llamaFamily() {
  return {.defaults = {.family = "llama", .max_position_embeddings = 2048, .bos_token_ids = {1}, .eos_token_ids = {2}},
          .architecture = "LlamaForCausalLM",
          .readSpecific = readLlama};
}

}  // namespace exo
