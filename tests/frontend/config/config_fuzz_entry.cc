// Any bytes as a config.json: an error or a configuration that keeps its promises, never a crash.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "frontend/config/common_config.h"
#include "frontend/config/model_config.h"
#include "frontend/config/rope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo;
  const Result<ModelConfig> read = parseModelConfig({reinterpret_cast<const char*>(data), size}, "config.json");
  if (!read.ok()) {
    EXO_CHECK(read.error().message().find("config.json") != std::string::npos) << read.error().message();
    return 0;
  }
  const ModelConfig& config = *read;
  EXO_CHECK(config.num_layers >= 1 && config.num_layers <= kMaxLayers && config.num_heads % config.num_kv_heads == 0);
  EXO_CHECK(config.sliding_window.size() == static_cast<size_t>(config.num_layers));
  EXO_CHECK(!config.moe || config.moe->is_sparse.size() == static_cast<size_t>(config.num_layers));
  EXO_CHECK(!config.moe || (config.moe->top_k >= 1 && config.moe->top_k <= config.moe->num_experts));
  const ParameterCount count = countParameters(config);
  EXO_CHECK(0 < count.active && count.active <= count.total && count.total <= kMaxParameters);
  const RopeTable rope = ropeFrequencies(config.rope, config.head_dim, config.max_position_embeddings);
  EXO_CHECK(rope.inverse_frequencies.size() == static_cast<size_t>(config.head_dim / 2));
  for (const float frequency : rope.inverse_frequencies) EXO_CHECK(std::isfinite(frequency)) << frequency;
  EXO_CHECK(std::isfinite(rope.attention_scaling) && rope.attention_scaling > 0.0f);
  return 0;
}
