// mistral (Jiang et al. 2023): llama's network; a sliding window on every layer where the configuration has one.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildMistral(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
