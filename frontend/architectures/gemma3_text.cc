// gemma3_text (Kamath et al. 2025): gemma2's network with norms of queries and keys instead of soft caps, and two rotary
// bases.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildGemma3Text(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
