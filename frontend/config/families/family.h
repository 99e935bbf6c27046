// One entry per model family: how its config.json differs from the common part. A new family is one new file here
// and one line in families.cc.
#pragma once

#include <span>
#include <string>

#include "frontend/config/common_config.h"

namespace exo {

struct Family {
  FamilyDefaults defaults;   // defaults.family is the model_type
  std::string architecture;  // as in "architectures", for files without model_type
  /// Fills what readCommon leaves open: biases, windows, experts.
  Status (*readSpecific)(const JsonObject& json, ModelConfig& config);
};

std::span<const Family> families();

Family llamaFamily();
Family mistralFamily();
Family mixtralFamily();
Family qwen2Family();
Family qwen3Family();
Family qwen3MoeFamily();

/// Windows of qwen2 and qwen3: layer_types if given; else layers from max_window_layers on, if use_sliding_window.
Status readQwenWindows(const JsonObject& json, ModelConfig& config);

/// Windows of mistral and mixtral: sliding_window in all layers; `absent` is what a missing key means.
Status readUniformWindow(const JsonObject& json, std::optional<int64_t> absent, ModelConfig& config);

}  // namespace exo
