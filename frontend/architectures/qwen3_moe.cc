// qwen3_moe (Yang et al. 2025): qwen3's attention; a softmax router over many small experts, dense layers in between
// where mlp_only_layers and decoder_sparse_step say so.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildQwen3Moe(const ModelConfig& config, const ImportOptions& options) {
  const DecoderBuilder::MoeNames names{"mlp.gate", "mlp.experts.*.gate_proj", "mlp.experts.*.up_proj", "mlp.experts.*.down_proj"};
  return buildDecoder(config, options, &names);
}

}  // namespace exo
