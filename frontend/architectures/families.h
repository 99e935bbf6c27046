// The families' graph builders; each is defined in the file named after it. The table is in architectures.cc.
#pragma once

#include "frontend/architectures/decoder.h"

namespace exo {

Graph buildDeepseekV3(const ModelConfig& config, const ImportOptions& options);
Graph buildGemma2(const ModelConfig& config, const ImportOptions& options);
Graph buildGemma3Text(const ModelConfig& config, const ImportOptions& options);
Graph buildGlm4Moe(const ModelConfig& config, const ImportOptions& options);
Graph buildGptOss(const ModelConfig& config, const ImportOptions& options);
Graph buildOlmo2(const ModelConfig& config, const ImportOptions& options);
Graph buildPhi3(const ModelConfig& config, const ImportOptions& options);
Graph buildQwen2Moe(const ModelConfig& config, const ImportOptions& options);
Graph buildLlama(const ModelConfig& config, const ImportOptions& options);
Graph buildMistral(const ModelConfig& config, const ImportOptions& options);
Graph buildQwen2(const ModelConfig& config, const ImportOptions& options);
Graph buildQwen3(const ModelConfig& config, const ImportOptions& options);
Graph buildQwen3Moe(const ModelConfig& config, const ImportOptions& options);
Graph buildMixtral(const ModelConfig& config, const ImportOptions& options);

}  // namespace exo
