// glm4_moe (GLM-4.5: Zeng et al. 2025): a few dense layers, then experts chosen by sigmoid scores with a correction, beside
// a shared one.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildGlm4Moe(const ModelConfig& config, const ImportOptions& options) {
  const DecoderBuilder::MoeNames names{"mlp.gate", "mlp.experts.*.gate_proj", "mlp.experts.*.up_proj", "mlp.experts.*.down_proj", "mlp.shared_experts"};
  return buildDecoder(config, options, &names);
}

}  // namespace exo
