// mixtral (Jiang et al. 2024): mistral's attention; every layer sparse, the chosen experts' weights sum to one.
// Its checkpoints name gate, down and up projections w1, w2 and w3.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildMixtral(const ModelConfig& config, const ImportOptions& options) {
  const DecoderBuilder::MoeNames names{"block_sparse_moe.gate", "block_sparse_moe.experts.*.w1", "block_sparse_moe.experts.*.w3", "block_sparse_moe.experts.*.w2"};
  return buildDecoder(config, options, &names);
}

}  // namespace exo
