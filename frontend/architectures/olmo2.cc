// olmo2 (OLMo et al. 2024): norms behind attention and MLP instead of before them; queries and keys are normed over the
// whole width of their projections.
#include "frontend/architectures/families.h"

namespace exo {

Graph buildOlmo2(const ModelConfig& config, const ImportOptions& options) { return buildDecoder(config, options, nullptr); }

}  // namespace exo
