// qwen2_moe (Yang et al. 2024): qwen2's attention; a softmax router over small experts, and a shared one whose share is
// the sigmoid of a projection.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildQwen2Moe(const ModelConfig& config, const ImportOptions& options) {
  const DecoderBuilder::MoeNames names{"mlp.gate", "mlp.experts.*.gate_proj", "mlp.experts.*.up_proj", "mlp.experts.*.down_proj",
                                       "mlp.shared_expert", "mlp.shared_expert_gate"};
  return buildDecoder(config, options, &names);
}

}  // namespace exo
