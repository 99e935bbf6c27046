// MXFP4 (OCP Microscaling Formats 1.0): blocks of 32 e2m1 elements, two in a byte (the first in the low nibble), and an
// e8m0 scale: w = element · 2^(scale - 127). As gpt-oss ships it: blocks U8 [R, C/32, 16], scales U8 [R, C/32]; as MLX's
// mode mxfp4: weight U32 [R, C/8], the same bytes.
#include <cmath>
#include <limits>

#include "frontend/checkpoint/formats/formats.h"

namespace exo {
namespace {

// Twice the values, so that they are integers.
constexpr std::array<int8_t, 16> kDoubled = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
constexpr int64_t kBlock = 32, kBlockBytes = 16;

/// Half the block's scale, to go with doubled elements.
float halfScale(std::byte scale) {
  const int exponent = std::to_integer<int>(scale);
  return exponent == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, exponent - 128);
}

class Mxfp4Tensor : public StoredTensor {
 public:
  Mxfp4Tensor(StoredTraits traits, const TensorView& blocks, const TensorView& scales)
      : StoredTensor(std::move(traits)), blocks_(blocks.bytes.data()), scales_(scales.bytes.data()) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    const std::byte* values = blocks_ + row * columns() / kBlock * kBlockBytes;
    float scale = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t c = column + static_cast<int64_t>(i);
      if (i == 0 || c % kBlock == 0) scale = halfScale(scaleAt(row, c));
      const auto pair = std::to_integer<uint32_t>(values[c / 2]);
      out[i] = static_cast<float>(kDoubled[c % 2 == 0 ? pair & 15 : pair >> 4]) * scale;
    }
    return {};
  }

  bool readScales(int64_t row, int64_t column, std::span<uint16_t> out) const override {
    for (size_t i = 0; i < out.size(); ++i) {
      const auto half = exactHalf(halfScale(scaleAt(row, column + static_cast<int64_t>(i) * kBlock)));
      if (!half) return false;
      out[i] = *half;
    }
    return true;
  }

 private:
  std::byte scaleAt(int64_t row, int64_t column) const { return scales_[row * (columns() / kBlock) + column / kBlock]; }

  const std::byte* blocks_;
  const std::byte* scales_;
};

}  // namespace

Result<Stored> storedMxfp4(const WeightParts& parts, const QuantizationConfig&) {
  const bool is_mlx = parts.find("blocks") == nullptr;
  EXO_ASSIGN(const TensorView* blocks, parts.require(is_mlx ? "weight" : "blocks"));
  const size_t rank = is_mlx ? 2 : 3;
  if (blocks->shape.size() != rank || blocks->dtype != (is_mlx ? DType::kU32 : DType::kU8))
    return invalid(blocks->name, ": expected ", is_mlx ? "U32 [rows, columns / 8]" : "U8 [rows, columns / 32, 16]", ", got ", name(blocks->dtype), " ",
                   shapeText(blocks->shape));
  const int64_t rows = blocks->shape[0], groups = is_mlx ? blocks->shape[1] / 4 : blocks->shape[1];
  if (is_mlx ? blocks->shape[1] % 4 != 0 : blocks->shape[2] != kBlockBytes)
    return invalid(blocks->name, ": expected whole blocks of 32 elements, got shape ", shapeText(blocks->shape));
  EXO_ASSIGN(const TensorView* scales, parts.require("scales", std::array{DType::kU8}, std::array{rows, groups}));
  // Twelve is the largest doubled element: eight bits hold it, four do not.
  StoredTraits traits{{rows, groups * kBlock}, "MXFP4", parts.sizeBytes(), Encoding::kW8, true};
  return Stored(std::make_shared<Mxfp4Tensor>(std::move(traits), *blocks, *scales));
}

}  // namespace exo
