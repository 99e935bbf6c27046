// gemma2: norms before and behind, soft caps, every other layer with a window, the first one included.
#include "frontend/config/families/family.h"

#include <cmath>

namespace exo {

namespace {

constexpr NumberRange kCapRange{1e-3, 1e6};

/// null in the file: no cap.
Result<double> readCap(const JsonObject& json, const std::string& key, double absent) {
  return json.numberOr(key, json.contains(key) ? 0.0 : absent, kCapRange);
}

}  // namespace

Status readGemma(const JsonObject& json, const GemmaDefaults& defaults, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  EXO_ASSIGN(config.qkv_bias, json.booleanOr("attention_bias", false));
  config.attention_output_bias = config.qkv_bias;
  config.norms = NormPlaces::kBoth;
  config.norm_offset = 1.0;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  EXO_ASSIGN(config.query_scalar, json.numberOr("query_pre_attn_scalar", 256.0, {1e-6, 1e9}));
  EXO_ASSIGN(config.attention_soft_cap, readCap(json, "attn_logit_softcapping", defaults.attention_cap));
  EXO_ASSIGN(config.logit_soft_cap, readCap(json, "final_logit_softcapping", defaults.logit_cap));
  EXO_ASSIGN(const int64_t window, json.integerOr("sliding_window", defaults.window, {1, kMaxPositions}));
  EXO_ASSIGN(const int64_t pattern, json.integerOr("sliding_window_pattern", defaults.pattern, {1, kMaxLayers}));
  EXO_ASSIGN(const auto types, readLayerTypes(json, config.num_layers));
  for (size_t layer = 0; layer < config.sliding_window.size(); ++layer) {
    const bool slides = types ? (*types)[layer] : (static_cast<int64_t>(layer) + 1) % pattern != 0;
    if (slides) config.sliding_window[layer] = window;
  }
  return {};
}

namespace {
Status readGemma2(const JsonObject& json, ModelConfig& config) { return readGemma(json, {50.0, 30.0, 4096, 2}, config); }
}  // namespace

Family gemma2Family() {
  return {.defaults = {.family = "gemma2",
                       .num_kv_heads = 4,
                       .head_dim = 256,
                       .max_position_embeddings = 8192,
                       .tie_word_embeddings = true,
                       .activation = Activation::kGeluTanh,
                       .own_keys = {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"},
                       .bos_token_ids = {2},
                       .eos_token_ids = {1}},
          .architecture = "Gemma2ForCausalLM",
          .readSpecific = readGemma2};
}

}  // namespace exo
