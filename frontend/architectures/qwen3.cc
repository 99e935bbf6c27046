// qwen3 (Yang et al. 2025): llama's network with an RMS norm over each head of query and key, and head_dim of its own.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildQwen3(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
