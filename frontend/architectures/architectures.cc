#include <array>
#include <string_view>

#include "frontend/architectures/families.h"

namespace exo {

namespace {

struct Architecture {
  std::string_view family;
  Graph (*build)(const ModelConfig&, const ImportOptions&);
};

constexpr std::array kArchitectures = {
    Architecture{"deepseek_v3", buildDeepseekV3}, Architecture{"kimi_k2", buildDeepseekV3},
    Architecture{"gemma2", buildGemma2},       Architecture{"gemma3_text", buildGemma3Text}, Architecture{"glm4_moe", buildGlm4Moe},
    Architecture{"gpt_oss", buildGptOss},
    Architecture{"olmo2", buildOlmo2},         Architecture{"phi3", buildPhi3},       Architecture{"qwen2_moe", buildQwen2Moe},
    Architecture{"llama", buildLlama},         Architecture{"mistral", buildMistral}, Architecture{"mixtral", buildMixtral},
    Architecture{"qwen2", buildQwen2},         Architecture{"qwen3", buildQwen3},     Architecture{"qwen3_moe", buildQwen3Moe},
};

}  // namespace

Result<Graph> buildGraph(const ModelConfig& config, const ImportOptions& options) {
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.family == config.family) return architecture.build(config, options);
  }
  return makeError(ErrorCode::kUnsupported, "no architecture for model family '", config.family, "'");
}

}  // namespace exo
