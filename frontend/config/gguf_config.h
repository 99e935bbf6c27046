// A GGUF file's metadata as a ModelConfig: translated to the keys of a config.json and read as one, so that both are
// checked alike. A key of the architecture that is not in the table is refused by name.
#pragma once

#include "frontend/config/model_config.h"
#include "frontend/gguf/gguf.h"

namespace exo {

Result<ModelConfig> readGgufConfig(const GgufModel& model);

/// How an architecture's files name and order tensors; nullptr for one that is not known.
struct GgufArchitecture {
  std::string_view name;        // general.architecture
  std::string_view family;      // ours; files of "llama" with experts are mixtral, with a window mistral
  bool pairs_rope = false;      // rows of q and k lie so that rope turns neighbours: (2j, 2j + 1) instead of (j, j + D/2)
};
Result<const GgufArchitecture*> ggufArchitecture(const GgufMetadata& metadata);

}  // namespace exo
