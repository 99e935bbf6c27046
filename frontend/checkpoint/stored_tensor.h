// One weight as a checkpoint keeps it, whatever the format: rows as f32 on demand, and, where the format is integers
// times a scale per block as the kernels have them, those scales, so that packing repeats the stored numbers bit by bit.
// Made when a checkpoint is opened: everything about shapes and types has been checked by then, and no data touched.
// Threads: immutable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "frontend/checkpoint/safetensors.h"
#include "ir/base/result.h"
#include "ir/type.h"

namespace exo {

/// What is known of a weight without touching its data.
struct StoredTraits {
  std::vector<int64_t> shape;   // as the model wants it: [columns] or [rows, columns]
  std::string format;           // "BF16", "Q4_K", "fp8 128×128"
  uint64_t size_bytes = 0;      // in the file, with scales
  Encoding encoding = Encoding::kF32;  // the encoding with a kernel that holds it best
  bool is_exact = true;         // `encoding` holds exactly what is stored
};

class StoredTensor {
 public:
  explicit StoredTensor(StoredTraits traits) : traits_(std::move(traits)) {}
  virtual ~StoredTensor() = default;

  const StoredTraits& traits() const { return traits_; }
  int64_t rows() const { return traits_.shape.size() == 2 ? traits_.shape[0] : 1; }
  int64_t columns() const { return traits_.shape.back(); }

  /// Columns [column, column + out.size()) of a row, touching only their bytes (of a block format: their blocks).
  /// Errors: data that contradicts itself (an index beyond its table).
  virtual Status readRow(int64_t row, int64_t column, std::span<float> out) const = 0;

  /// Where elements are integers times one f16 scale per block of kQuantBlock columns: the scales of the blocks from `column`
  /// (a multiple of it) on. False where that is not so. Whether an encoding has the integers, the packer sees.
  virtual bool readScales(int64_t, int64_t, std::span<uint16_t>) const { return false; }

 private:
  StoredTraits traits_;
};

using Stored = std::shared_ptr<const StoredTensor>;
/// By the names that the families' graphs ask for.
using StoredTensors = std::unordered_map<std::string, Stored>;

/// The f16 that equals `value`, if there is one.
std::optional<uint16_t> exactHalf(float value);

/// The `bits` (at most 8) from bit `index · bits` on, the least significant first, of a row of `bytes` bytes.
inline uint32_t packedBits(const std::byte* row, int64_t bytes, int64_t index, int64_t bits) {
  const int64_t at = index * bits, byte = at / 8;
  uint32_t window = std::to_integer<uint32_t>(row[byte]);
  if (byte + 1 < bytes) window |= std::to_integer<uint32_t>(row[byte + 1]) << 8;
  return window >> (at % 8) & ((1u << bits) - 1);
}

/// Elements of a tensor, one at a time, converted to f32.
class FloatElements {
 public:
  FloatElements() = default;
  /// Error kUnsupported when the type does not convert.
  static Result<FloatElements> of(const TensorView& view);
  float operator[](int64_t index) const;

 private:
  DType dtype_ = DType::kF32;
  const std::byte* data_ = nullptr;
};

/// Where elements lie: (row, column) at origin + row · row_stride + column · column_stride, counted in elements.
struct Strides {
  int64_t origin = 0, row = 0, column = 1;
};

/// Unquantised elements.  The dtype converts to float; every element lies inside view.bytes.
Stored storedPlain(const TensorView& view, std::vector<int64_t> shape, Strides strides);

/// Rows first, first + step, … of another tensor.
Stored everyOtherRow(Stored inner, int64_t first, int64_t step);

}  // namespace exo
