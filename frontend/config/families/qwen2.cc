// qwen2: bias on q, k and v whatever the file says; windows in the upper layers.
#include "frontend/config/families/family.h"

#include <algorithm>

namespace exo {
namespace {

std::vector<bool> upperLayers(int64_t num_layers, int64_t first) {
  std::vector<bool> sliding(static_cast<size_t>(num_layers));
  for (int64_t layer = 0; layer < num_layers; ++layer) sliding[static_cast<size_t>(layer)] = layer >= first;
  return sliding;
}

Status readQwen2(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  config.qkv_bias = true;
  return readQwenWindows(json, config);
}

}  // namespace

Status readQwenWindows(const JsonObject& json, ModelConfig& config) {
  EXO_ASSIGN(const bool use, json.booleanOr("use_sliding_window", false));
  EXO_ASSIGN(std::optional<int64_t> window, json.findInteger("sliding_window", {1, kMaxPositions}));
  if (!json.contains("sliding_window")) window = 4096;
  if (!use) window = std::nullopt;
  EXO_ASSIGN(const int64_t first, json.integerOr("max_window_layers", 28, {0, kMaxLayers}));
  EXO_ASSIGN(auto sliding, readLayerTypes(json, config.num_layers));
  if (!sliding) sliding = upperLayers(config.num_layers, window ? first : config.num_layers);
  for (size_t layer = 0; layer < sliding->size(); ++layer) {
    if (!(*sliding)[layer]) continue;
    if (!window)
      return invalid(json.path("layer_types"), "[", layer,
                     "]: sliding_attention needs use_sliding_window = true and a sliding_window");
    config.sliding_window[layer] = window;
  }
  return {};
}

Family qwen2Family() {
  return {.defaults = {.family = "qwen2", .num_kv_heads = 32},
          .architecture = "Qwen2ForCausalLM",
          .readSpecific = readQwen2};
}

}  // namespace exo
