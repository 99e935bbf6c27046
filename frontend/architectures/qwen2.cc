// qwen2 (Yang et al. 2024): llama's network with biases on query, key and value; windows from max_window_layers on.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildQwen2(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
