// Which tokens end a text: generation_config.json where there is one, else config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "frontend/driver/model.h"

namespace exo {

struct GenerationConfig {
  std::vector<int32_t> eos_ids;
  std::optional<int32_t> bos_id;
};

/// Ids outside the vocabulary are refused.
Result<GenerationConfig> readGenerationConfig(const Model& model);

}  // namespace exo
