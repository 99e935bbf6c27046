// Quantised weights in safetensors files: each format in the file named after it, made from the tensors that together
// are one weight. R rows (outputs), C columns (inputs), G groups.
#pragma once

#include <map>
#include <string>

#include "frontend/checkpoint/stored_tensor.h"
#include "frontend/config/quantization.h"

namespace exo {

/// The tensors of one weight by what follows its path: "weight", "scales", "weight_packed".
struct WeightParts {
  std::string path;  // "model.layers.0.mlp.gate_proj"
  std::map<std::string, TensorView> tensors;

  const TensorView* find(const std::string& part) const;
  /// Error kNotFound naming path and part.
  Result<const TensorView*> require(const std::string& part) const;
  /// Error kInvalidInput unless the part has this dtype and shape; an empty list of dtypes: any that converts to float.
  Result<const TensorView*> require(const std::string& part, std::span<const DType> dtypes, std::span<const int64_t> shape) const;
  uint64_t sizeBytes() const;
};

Result<Stored> storedFp8(const WeightParts& parts, const QuantizationConfig& config);
Result<Stored> storedMxfp4(const WeightParts& parts, const QuantizationConfig& config);
Result<Stored> storedPackedInt(const WeightParts& parts, const QuantizationConfig& config);
Result<Stored> storedMlx(const WeightParts& parts, const QuantizationConfig& config);
Result<Stored> storedGptq(const WeightParts& parts, const QuantizationConfig& config);
Result<Stored> storedAwq(const WeightParts& parts, const QuantizationConfig& config);

/// Rows and columns of a 2-D part.  Error kInvalidInput for another rank.
Result<std::pair<int64_t, int64_t>> matrixShape(const WeightParts& parts, const TensorView& view);

}  // namespace exo
