// MLX affine: weight U32 [R, C·bits/32], element k in the bits from k·bits on, the least significant first (3, 5 and 6 bits
// cross byte and word boundaries); scales and biases [R, C/group]. w = scale · q + bias.
#include "frontend/checkpoint/formats/formats.h"

namespace exo {
namespace {

class MlxTensor : public StoredTensor {
 public:
  MlxTensor(StoredTraits traits, const TensorView& weight, FloatElements scales, FloatElements biases, QuantWidth width)
      : StoredTensor(std::move(traits)), data_(weight.bytes.data()), row_bytes_(weight.shape[1] * 4), scales_(scales), biases_(biases), width_(width) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    const std::byte* words = data_ + row * row_bytes_;
    float scale = 0, bias = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t c = column + static_cast<int64_t>(i);
      if (i == 0 || c % width_.group_size == 0) {
        const int64_t group = row * (columns() / width_.group_size) + c / width_.group_size;
        scale = scales_[group];
        bias = biases_[group];
      }
      out[i] = scale * static_cast<float>(packedBits(words, row_bytes_, c, width_.bits)) + bias;
    }
    return {};
  }

 private:
  const std::byte* data_;
  int64_t row_bytes_;
  FloatElements scales_, biases_;
  QuantWidth width_;
};

Result<QuantWidth> widthOf(const WeightParts& parts, const QuantizationConfig& config) {
  if (config.method != QuantMethod::kMlx)
    return invalid(parts.path, ": expected \"quantization\" {bits, group_size} in config.json for an MLX weight (U32 with scales), found none");
  const auto found = config.overrides.find(parts.path);
  if (found == config.overrides.end()) return config.width;
  if (!found->second) return invalid(parts.path, ": expected an unquantised weight, as config.json says, got U32 with scales");
  return *found->second;
}

}  // namespace

Result<Stored> storedMlx(const WeightParts& parts, const QuantizationConfig& config) {
  EXO_ASSIGN(const QuantWidth width, widthOf(parts, config));
  if (width.mxfp4) return storedMxfp4(parts, config);
  EXO_ASSIGN(const TensorView* weight, parts.require("weight"));
  EXO_ASSIGN(const auto stored, matrixShape(parts, *weight));
  const auto [rows, words] = stored;
  if (weight->dtype != DType::kU32) return invalid(weight->name, ": expected U32, got ", name(weight->dtype));
  const int64_t columns = words * 32 / width.bits;
  if (words * 32 % width.bits != 0 || columns % width.group_size != 0)
    return invalid(weight->name, ": expected rows of whole groups of ", width.group_size, " elements of ", width.bits, " bits, got ", words, " words");
  const std::array groups = {rows, columns / width.group_size};
  EXO_ASSIGN(const TensorView* scales, parts.require("scales", {}, groups));
  EXO_ASSIGN(const TensorView* biases, parts.require("biases", {}, groups));
  EXO_ASSIGN(const FloatElements scale_elements, FloatElements::of(*scales));
  EXO_ASSIGN(const FloatElements bias_elements, FloatElements::of(*biases));
  StoredTraits traits{{rows, columns}, "MLX " + std::to_string(width.bits) + "-bit, groups of " + std::to_string(width.group_size), parts.sizeBytes(), Encoding::kW8, false};
  return Stored(std::make_shared<MlxTensor>(std::move(traits), *weight, scale_elements, bias_elements, width));
}

}  // namespace exo
