// A golden model as a GGUF file: names, order of rows, rope factors and vocabulary as that format's converters write them.
#pragma once

#include <filesystem>

#include "frontend/config/model_config.h"

namespace exo::testing {

enum class GgufPrecision {
  kF32, kF16, kBF16,
  kQ8,      // Q8_0, scale = max / 127
  kQ8Wide,  // Q8_0 with scales twice as large: blocks that a quantiser of ours would not choose
  kQ4Wide,  // Q4_0, likewise
};

/// Matrices in `precision`, vectors in f32. Failures are recorded in the running test.
void writeGguf(const std::filesystem::path& model, GgufPrecision precision, const std::filesystem::path& file);

}  // namespace exo::testing
