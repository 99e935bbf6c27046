// phi3 (Abdin et al. 2024): llama's network; q, k and v are one tensor of the checkpoint, gate and up another.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildPhi3(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
