// What GPTQ and AWQ share: integers and zero points in 32-bit words, a scale per group of inputs and per output:
// w[r, c] = (q[c, r] - zero[g, r]) · scale[g, r]. They differ in how q and zero are packed.
#pragma once

#include <cstring>

#include "frontend/checkpoint/formats/formats.h"

namespace exo {

inline uint32_t wordAt(const std::byte* words, int64_t index) {
  uint32_t word;
  std::memcpy(&word, words + index * 4, 4);
  return word;
}

/// `Packing`: int32_t value(r, c) and zero(g, r); Result<int64_t> group(c).
template <class Packing>
class ZeroPointTensor : public StoredTensor {
 public:
  ZeroPointTensor(StoredTraits traits, FloatElements scales, Packing packing)
      : StoredTensor(std::move(traits)), scales_(scales), packing_(std::move(packing)) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t c = column + static_cast<int64_t>(i);
      EXO_ASSIGN(const int64_t group, packing_.group(c));
      out[i] = static_cast<float>(packing_.value(row, c) - packing_.zero(group, row)) * scales_[group * rows() + row];
    }
    return {};
  }

  bool readScales(int64_t row, int64_t column, std::span<uint16_t> out) const override {
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t first = column + static_cast<int64_t>(i) * kQuantBlock, last = std::min(first + kQuantBlock, columns()) - 1;
      const auto group = packing_.group(first);
      for (int64_t c = first; c <= last; ++c) {
        const auto own = packing_.group(c);
        if (!group.ok() || !own.ok() || *own != *group) return false;
      }
      const auto half = exactHalf(scales_[*group * rows() + row]);
      if (!half) return false;
      out[i] = *half;
    }
    return true;
  }

 private:
  FloatElements scales_;
  Packing packing_;
};

}  // namespace exo
