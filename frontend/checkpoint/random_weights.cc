#include "frontend/checkpoint/random_weights.h"

#include <algorithm>
#include <cmath>

namespace exo {
namespace {

// Finaliser of a 64-bit hash: multiply and fold twice; passes as a counter-based generator for our purpose.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  return x ^ (x >> 32);
}

uint64_t tensorKey(uint64_t seed, const std::string& name) {
  uint64_t key = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) key = (key ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return mix(key ^ mix(seed + 0x9e3779b97f4a7c15u));
}

// The sum of the four 16-bit fields, centred: an integer, so that all machines agree. Variance (2^32 - 1) / 3.
int32_t bell(uint64_t key, uint64_t index) {
  const uint64_t bits = mix(key + index * 0x9e3779b97f4a7c15u);
  const uint64_t pairs = (bits & 0x0000ffff0000ffffu) + (bits >> 16 & 0x0000ffff0000ffffu);
  return static_cast<int32_t>((pairs & 0xffffffffu) + (pairs >> 32)) - 2 * 0xffff;
}

constexpr double kBellDeviation = 37837.2;  // √((2^32 - 1) / 3)

struct Distribution {
  float mean, deviation;
};

Distribution distributionOf(const TensorRef& tensor) {
  if (tensor.rows() > 1)   // a program does not say whether one row is a vector
    return {0.0f, static_cast<float>(1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(tensor.columns(), 1))))};
  return {tensor.name.ends_with("bias") ? 0.0f : 1.0f, 0.05f};
}

}  // namespace

// The number before the seed: raise it when the same seed would give other values.
std::string RandomWeights::identity() const { return "random 1, seed " + std::to_string(seed_); }

Status RandomWeights::readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const {
  checkSlice(tensor, slice, out);
  const uint64_t key = tensorKey(seed_, tensor.name);
  const Distribution distribution = distributionOf(tensor);
  const float scale = static_cast<float>(distribution.deviation / kBellDeviation);
  size_t position = 0;
  for (int64_t row = slice.row_begin; row < slice.row_end; ++row) {
    const auto first = static_cast<uint64_t>(row * tensor.columns());
    for (int64_t column = slice.column_begin; column < slice.column_end; ++column) {
      const float value = static_cast<float>(bell(key, first + static_cast<uint64_t>(column))) * scale;
      out[position++] = distribution.mean + value;
    }
  }
  return {};
}

}  // namespace exo
