// olmo2: norms behind attention and MLP, on their results; queries and keys are normed over all heads at once.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readOlmo2(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", false));
  config.attention_output_bias = config.qkv_bias;
  config.norms = NormPlaces::kBehind;
  config.qk_norm = config.qk_norm_joint = true;
  return refuseSlidingWindow(json, config);
}

}  // namespace

Family olmo2Family() {
  return {.defaults = {.family = "olmo2", .rms_norm_eps = 1e-5, .max_position_embeddings = 2048, .eos_token_ids = {50279}},
          .architecture = "Olmo2ForCausalLM",
          .readSpecific = readOlmo2};
}

}  // namespace exo
