// Weights made up on the spot, for benchmarks and tests without a download: each element is a function of
// (seed, tensor name, element index) alone, so that every node computes its own slice and all agree to the bit.
#pragma once

#include <cstdint>

#include "frontend/checkpoint/tensor_source.h"

namespace exo {

/// Matrices of several rows: bell-shaped, mean 0, standard deviation 1/√columns, so that a product keeps the scale of its input.
/// One row, vector or matrix: biases (name ends in "bias") mean 0, norm weights and all others mean 1, standard deviation 0.05.
class RandomWeights : public TensorSource {
 public:
  explicit RandomWeights(uint64_t seed) : seed_(seed) {}

  bool contains(const std::string&) const override { return true; }
  /// Any tensor exists, with the shape asked for.
  Result<TensorInfo> find(const TensorRef& tensor) const override { return TensorInfo{"F32", tensor.shape}; }
  std::string identity() const override;
  Status readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const override;

 private:
  uint64_t seed_;
};

}  // namespace exo
