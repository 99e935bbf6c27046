// compressed-tensors pack-quantized (Kimi K2 Thinking): weight_packed I32 [R, ⌈C·bits/32⌉], the first element in the lowest
// bits, stored + 2^(bits-1); weight_scale [R, C/group], [R, 1] or [1]; weight_shape [2] = R, C. w = integer · scale.
#include <cstring>

#include "frontend/checkpoint/formats/formats.h"

namespace exo {
namespace {

struct Groups {
  int64_t size;          // columns under one scale
  int64_t row_stride;    // scales of a row; 0: one scale for all
};

class PackedIntTensor : public StoredTensor {
 public:
  PackedIntTensor(StoredTraits traits, const TensorView& packed, FloatElements scales, int64_t bits, Groups groups)
      : StoredTensor(std::move(traits)), data_(packed.bytes.data()), row_bytes_(packed.shape[1] * 4), scales_(scales), bits_(bits), groups_(groups) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    const std::byte* words = data_ + row * row_bytes_;
    const int32_t zero = 1 << (bits_ - 1);
    float scale = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t c = column + static_cast<int64_t>(i);
      if (i == 0 || c % groups_.size == 0) scale = scaleAt(row, c);
      out[i] = static_cast<float>(static_cast<int32_t>(packedBits(words, row_bytes_, c, bits_)) - zero) * scale;
    }
    return {};
  }

  bool readScales(int64_t row, int64_t column, std::span<uint16_t> out) const override {
    if (!traits().is_exact) return false;
    for (size_t i = 0; i < out.size(); ++i) {
      const auto half = exactHalf(scaleAt(row, column + static_cast<int64_t>(i) * kQuantBlock));
      if (!half) return false;
      out[i] = *half;
    }
    return true;
  }

 private:
  float scaleAt(int64_t row, int64_t column) const { return scales_[row * groups_.row_stride + column / groups_.size]; }

  const std::byte* data_;
  int64_t row_bytes_;
  FloatElements scales_;
  int64_t bits_;
  Groups groups_;
};

/// weight_shape is data: two integers of either width.
Result<std::pair<int64_t, int64_t>> readShape(const WeightParts& parts) {
  EXO_ASSIGN(const TensorView* view, parts.require("weight_shape", std::array{DType::kI32, DType::kI64}, std::array{int64_t{2}}));
  std::array<int64_t, 2> shape{};
  for (size_t i = 0; i < 2; ++i) {
    int32_t narrow;
    if (view->dtype == DType::kI64) std::memcpy(&shape[i], view->bytes.data() + 8 * i, 8);
    else std::memcpy(&narrow, view->bytes.data() + 4 * i, 4), shape[i] = narrow;
    if (shape[i] < 1 || shape[i] > (int64_t{1} << 40)) return invalid(view->name, ": expected sizes of at least 1, got ", shape[i]);
  }
  return std::pair(shape[0], shape[1]);
}

Result<Groups> groupsOf(const WeightParts& parts, int64_t rows, int64_t columns, int64_t group_size) {
  EXO_ASSIGN(const TensorView* scale, parts.require("weight_scale"));
  if (scale->numElements() == 1) return Groups{columns, 0};
  const int64_t size = group_size > 0 ? group_size : columns, per_row = (columns + size - 1) / size;
  EXO_ASSIGN(scale, parts.require("weight_scale", {}, std::array{rows, per_row}));
  return Groups{size, per_row};
}

}  // namespace

Result<Stored> storedPackedInt(const WeightParts& parts, const QuantizationConfig& config) {
  for (const char* part : {"weight_zero_point", "weight_g_idx"})
    if (const TensorView* view = parts.find(part)) return makeError(ErrorCode::kUnsupported, view->name, ": expected symmetric groups in order, got ", part);
  const int64_t bits = config.width.bits;
  EXO_ASSIGN(const auto shape, readShape(parts));
  const auto [rows, columns] = shape;
  const int64_t words = (columns * bits + 31) / 32;
  EXO_ASSIGN(const TensorView* packed, parts.require("weight_packed", std::array{DType::kI32}, std::array{rows, words}));
  EXO_ASSIGN(const Groups groups, groupsOf(parts, rows, columns, config.width.group_size));
  EXO_ASSIGN(const TensorView* scale, parts.require("weight_scale"));
  EXO_ASSIGN(const FloatElements scales, FloatElements::of(*scale));
  const bool in_blocks = groups.size % kQuantBlock == 0 || groups.size >= columns;
  StoredTraits traits{{rows, columns}, "int" + std::to_string(bits) + ", groups of " + std::to_string(groups.size), parts.sizeBytes(),
                      bits == 4 && in_blocks ? Encoding::kW4 : Encoding::kW8, in_blocks};
  return Stored(std::make_shared<PackedIntTensor>(std::move(traits), *packed, scales, bits, groups));
}

}  // namespace exo
