// llama (Touvron et al. 2023; Llama 3: Dubey et al. 2024): pre-norm decoder with GQA, RoPE and SwiGLU; biases as the
// configuration says; every rope scaling of config/rope.h.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildLlama(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
