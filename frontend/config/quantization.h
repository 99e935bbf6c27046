// How a checkpoint's weights are stored, as config.json says ("quantization_config", or "quantization" of MLX).
// Whatever it asks that the readers in frontend/checkpoint do not do is refused by name. Which tensors are quantised is
// not read from here (the lists of exceptions differ from tool to tool): the checkpoint's own tensors tell.
// Activations are never quantised the way a file asks: ours are more precise.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "frontend/config/json_reader.h"
#include "ir/base/result.h"

namespace exo {

enum class QuantMethod {
  kNone,
  kFp8,         // e4m3 with scales per block, per row or for the whole tensor
  kMxfp4,       // blocks of 32 e2m1 with an e8m0 scale
  kPackedInt,   // compressed-tensors pack-quantized: symmetric integers with a scale per group
  kMlx,         // MLX: affine integers per group, or MXFP4
  kGptq,        // integers and zero points per group, packed along the inputs
  kAwq,         // 4-bit integers and zero points per group, packed along the outputs in AWQ's order
};

/// Bits per element and elements under one scale.
struct QuantWidth {
  int64_t bits = 0;
  int64_t group_size = 0;  // 0: a whole row
  bool mxfp4 = false;      // MLX's mode "mxfp4" instead of "affine"
  friend bool operator==(const QuantWidth&, const QuantWidth&) = default;
};

struct QuantizationConfig {
  QuantMethod method = QuantMethod::kNone;
  QuantWidth width;                          // of kPackedInt, kGptq, kAwq; the default of kMlx
  int64_t block_rows = 0, block_columns = 0; // kFp8: 0 = scales per row or tensor, as the scale's shape says
  bool symmetric = false;                    // kGptq: zero points are in the middle, and columns in their own order
  int64_t zero_offset = 0;                   // kGptq: stored zero points are this much too small (1 in the first format)
  /// kMlx: what differs from `width`, by path ("model.layers.0.mlp.gate"); absent value: not quantised.
  std::map<std::string, std::optional<QuantWidth>> overrides;
  friend bool operator==(const QuantizationConfig&, const QuantizationConfig&) = default;
};

/// `config`: the whole config.json.  Errors: kUnsupported naming the method or option, kInvalidInput.
Result<QuantizationConfig> readQuantization(const JsonObject& config);

/// Of the config.json in `directory`; kNone without the file.
Result<QuantizationConfig> loadQuantization(const std::filesystem::path& directory);

}  // namespace exo
