// AWQ (gemm version): qweight I32 [C, R/8] and qzeros I32 [G, R/8], elements along the outputs: the nibbles of a word hold
// outputs 0, 2, 4, 6, 1, 3, 5, 7 of its eight, the lowest first; scales [G, R].
#include <algorithm>

#include "frontend/checkpoint/formats/zero_points.h"

namespace exo {
namespace {

constexpr std::array<int, 8> kNibbleOf = {0, 4, 1, 5, 2, 6, 3, 7};

struct AwqPacking {
  const std::byte *qweight, *qzeros;
  int64_t rows, group_size;

  int32_t field(const std::byte* words, int64_t line, int64_t r) const {
    return static_cast<int32_t>(wordAt(words, line * (rows / 8) + r / 8) >> (4 * kNibbleOf[static_cast<size_t>(r % 8)]) & 15);
  }
  int32_t value(int64_t r, int64_t c) const { return field(qweight, c, r); }
  int32_t zero(int64_t g, int64_t r) const { return field(qzeros, g, r); }
  Result<int64_t> group(int64_t c) const { return c / group_size; }
};

}  // namespace

Result<Stored> storedAwq(const WeightParts& parts, const QuantizationConfig& config) {
  EXO_ASSIGN(const TensorView* qweight, parts.require("qweight"));
  EXO_ASSIGN(const auto stored, matrixShape(parts, *qweight));
  const int64_t columns = stored.first, rows = stored.second * 8;
  if (qweight->dtype != DType::kI32 || columns == 0) return invalid(qweight->name, ": expected I32 [columns, rows / 8], got ", name(qweight->dtype), " ", shapeText(qweight->shape));
  const int64_t group_size = config.width.group_size > 0 ? config.width.group_size : columns;
  const int64_t groups = (columns + group_size - 1) / group_size;
  EXO_ASSIGN(const TensorView* qzeros, parts.require("qzeros", std::array{DType::kI32}, std::array{groups, rows / 8}));
  EXO_ASSIGN(const TensorView* scales, parts.require("scales", {}, std::array{groups, rows}));
  EXO_ASSIGN(const FloatElements scale_elements, FloatElements::of(*scales));
  // Zero points may lie anywhere in 0..15: differences need eight bits.
  StoredTraits traits{{rows, columns}, "AWQ 4-bit, groups of " + std::to_string(group_size), parts.sizeBytes(), Encoding::kW8, group_size % kQuantBlock == 0 || groups == 1};
  return Stored(std::make_shared<ZeroPointTensor<AwqPacking>>(std::move(traits), scale_elements, AwqPacking{qweight->bytes.data(), qzeros->bytes.data(), rows, group_size}));
}

}  // namespace exo
