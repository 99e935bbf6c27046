// gemma3_text: gemma2 with norms of queries and keys, five layers with a window for each one without, and another rotary
// base, unscaled, in those with a window.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readGemma3Text(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(readGemma(json, {0.0, 0.0, 4096, 6}, config));
  config.qk_norm = true;
  RopeConfig window_rope;
  EXO_ASSIGN(window_rope.theta, readWindowTheta(json, "rope_local_base_freq", 10000.0));
  config.window_rope = window_rope;
  return {};
}

}  // namespace

Family gemma3TextFamily() {
  return {.defaults = {.family = "gemma3_text",
                       .vocab_size = 262208,
                       .num_heads = 8,
                       .num_kv_heads = 4,
                       .head_dim = 256,
                       .rope_theta = 1e6,
                       .max_position_embeddings = 131072,
                       .tie_word_embeddings = true,
                       .activation = Activation::kGeluTanh,
                       .rope_by_layers = true,
                       .own_keys = {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "rope_local_base_freq"},
                       .bos_token_ids = {2},
                       .eos_token_ids = {1}},
          .architecture = "Gemma3ForCausalLM",
          .readSpecific = readGemma3Text};
}

}  // namespace exo
