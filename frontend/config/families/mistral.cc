// mistral: llama without biases; sliding_window in every layer, 4096 when the key is missing, none when it is null.
#include "frontend/config/families/family.h"

#include <algorithm>

namespace exo {

Status readUniformWindow(const JsonObject& json, std::optional<int64_t> absent, ModelConfig& config) {
  EXO_ASSIGN(std::optional<int64_t> window, json.findInteger("sliding_window", {1, kMaxPositions}));
  if (!json.contains("sliding_window")) window = absent;
  EXO_ASSIGN(const auto types, readLayerTypes(json, config.num_layers));
  if (types && std::find(types->begin(), types->end(), !window.has_value()) != types->end())
    return makeError(ErrorCode::kUnsupported, json.path("layer_types"), ": expected all layers ",
                     window ? "sliding_attention" : "full_attention", " in family ", config.family,
                     " as sliding_window says, got a mixture");
  std::fill(config.sliding_window.begin(), config.sliding_window.end(), window);
  return {};
}

namespace {

Status readMistral(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "attention_bias", config.family));
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  return readUniformWindow(json, 4096, config);
}

}  // namespace

Family mistralFamily() {
  return {.defaults = {.family = "mistral",
                       .num_kv_heads = 8,
                       .max_position_embeddings = 131072,
                       .bos_token_ids = {1},
                       .eos_token_ids = {2}},
          .architecture = "MistralForCausalLM",
          .readSpecific = readMistral};
}

}  // namespace exo
