// gpt_oss (OpenAI 2025): experts with biases and a clamped SwiGLU in every layer, windows on every other one, and per head a
// sink: a logit that takes part in the softmax of attention and has no value.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildGptOss(const ModelConfig& config, const ImportOptions& options) {
  const DecoderBuilder::MoeNames names{"mlp.router", "mlp.experts.*.gate_proj", "mlp.experts.*.up_proj", "mlp.experts.*.down_proj"};
  return buildDecoder(config, options, &names);
}

}  // namespace exo
