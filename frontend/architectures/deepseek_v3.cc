// deepseek_v3 (DeepSeek-AI 2024), kimi_k2 (Moonshot AI 2025): multi-head latent attention in its absorbed form, experts chosen by
// sigmoid scores with a correction, beside shared ones.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildDeepseekV3(const ModelConfig& config, const ImportOptions& options) {
  const DecoderBuilder::MoeNames names{"mlp.gate", "mlp.experts.*.gate_proj", "mlp.experts.*.up_proj", "mlp.experts.*.down_proj", "mlp.shared_experts"};
  return buildDecoder(config, options, &names);
}

}  // namespace exo
