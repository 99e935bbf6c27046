// mixtral: mistral with experts of intermediate_size in every layer; chosen weights always sum to one.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readMixtral(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "attention_bias", config.family));
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_TRY(readUniformWindow(json, std::nullopt, config));
  EXO_ASSIGN(MoeConfig moe, readExperts(json, 2, config.num_layers));
  moe.norm_topk_prob = true;
  moe.intermediate_size = config.intermediate_size;
  config.moe = std::move(moe);
  return {};
}

}  // namespace

Family mixtralFamily() {
  return {.defaults = {.family = "mixtral",
                       .num_kv_heads = 8,
                       .rms_norm_eps = 1e-5,
                       .rope_theta = 1e6,
                       .max_position_embeddings = 131072,
                       .bos_token_ids = {1},
                       .eos_token_ids = {2}},
          .architecture = "MixtralForCausalLM",
          .readSpecific = readMixtral};
}

}  // namespace exo
