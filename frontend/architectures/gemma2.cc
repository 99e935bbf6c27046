// gemma2 (Riviere et al. 2024): norms before and behind attention and MLP, soft caps, gelu, windows on every other layer.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildGemma2(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
