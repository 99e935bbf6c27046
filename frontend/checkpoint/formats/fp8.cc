// fp8: weight F8_E4M3 [R, C] and f32 or bf16 scales: weight_scale_inv [⌈R/rows⌉, ⌈C/columns⌉] of blocks as DeepSeek
// ships it, or weight_scale: one, one per row, or per block as compressed-tensors ships it. w = fp8 · scale of its block.
#include <algorithm>

#include "frontend/checkpoint/formats/formats.h"
#include "frontend/checkpoint/to_float.h"

namespace exo {
namespace {

struct Blocks {
  int64_t rows, columns;  // of one block
  int64_t per_row;        // blocks in a row of blocks
};

class Fp8Tensor : public StoredTensor {
 public:
  Fp8Tensor(StoredTraits traits, const TensorView& weight, FloatElements scales, Blocks blocks)
      : StoredTensor(std::move(traits)), data_(weight.bytes.data()), scales_(scales), blocks_(blocks) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    toFloat(DType::kF8E4M3, {data_ + row * columns() + column, out.size()}, out);
    const auto end = column + static_cast<int64_t>(out.size());
    for (int64_t c = column; c < end;) {
      const int64_t block = c / blocks_.columns, next = std::min(end, (block + 1) * blocks_.columns);
      const float scale = scales_[row / blocks_.rows * blocks_.per_row + block];
      for (; c < next; ++c) out[static_cast<size_t>(c - column)] *= scale;
    }
    return {};
  }

 private:
  const std::byte* data_;
  FloatElements scales_;
  Blocks blocks_;
};

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// One scale, one per row, or one per block of the configuration.
Result<Blocks> blocksOf(const TensorView& scale, int64_t rows, int64_t columns, const QuantizationConfig& config) {
  const auto& shape = scale.shape;
  const int64_t count = scale.numElements();
  if (count == 1) return Blocks{std::max<int64_t>(rows, 1), std::max<int64_t>(columns, 1), 1};
  if (config.block_rows > 0) {
    const std::vector<int64_t> wanted = {ceilDivide(rows, config.block_rows), ceilDivide(columns, config.block_columns)};
    if (shape == wanted) return Blocks{config.block_rows, config.block_columns, wanted[1]};
    return invalid(scale.name, ": expected shape ", shapeText(wanted), " for blocks of ", config.block_rows, "×", config.block_columns,
                   ", got ", shapeText(shape));
  }
  if (count == rows && (shape.size() == 1 || (shape.size() == 2 && shape[1] == 1))) return Blocks{1, std::max<int64_t>(columns, 1), 1};
  return invalid(scale.name, ": expected one scale, or one for each of ", rows, " rows (the configuration names no blocks), got shape ",
                 shapeText(shape));
}

std::string formatName(const Blocks& blocks, int64_t rows, int64_t columns) {
  if (blocks.rows == 1) return "fp8, a scale per row";
  if (blocks.rows >= rows && blocks.columns >= columns) return "fp8, one scale";
  return "fp8, blocks of " + std::to_string(blocks.rows) + "×" + std::to_string(blocks.columns);
}

}  // namespace

Result<Stored> storedFp8(const WeightParts& parts, const QuantizationConfig& config) {
  EXO_ASSIGN(const TensorView* weight, parts.require("weight"));
  EXO_ASSIGN(const auto shape, matrixShape(parts, *weight));
  const auto [rows, columns] = shape;
  const TensorView* scale = parts.find("weight_scale_inv");
  if (!scale) scale = parts.find("weight_scale");
  if (!scale) return makeError(ErrorCode::kNotFound, parts.path, ": expected weight_scale_inv or weight_scale beside the F8_E4M3 weight, found neither");
  EXO_ASSIGN(const FloatElements scales, FloatElements::of(*scale));
  EXO_ASSIGN(const Blocks blocks, blocksOf(*scale, rows, columns, config));
  // Eight bits around a block's largest weight lose less than e4m3 has lost there; bf16 would double the memory.
  StoredTraits traits{{rows, columns}, formatName(blocks, rows, columns), parts.sizeBytes(), Encoding::kW8, false};
  return Stored(std::make_shared<Fp8Tensor>(std::move(traits), *weight, scales, blocks));
}

}  // namespace exo
