// GPTQ: qweight I32 [C·bits/32, R], elements along the inputs, the first in the lowest bits; qzeros I32 [G, R·bits/32]; scales
// [G, R]; g_idx I32 [C], the group of each input (absent: in order). The first format stores zero points minus one.
#include <algorithm>

#include "frontend/checkpoint/formats/zero_points.h"

namespace exo {
namespace {

struct GptqPacking {
  const std::byte *qweight, *qzeros;
  const std::byte* g_idx;  // or nullptr
  int64_t rows, groups, group_size, bits, zero_offset;
  std::string path;

  uint32_t field(uint32_t word, int64_t index) const { return word >> (index * bits % 32) & ((1u << bits) - 1); }
  int32_t value(int64_t r, int64_t c) const { return static_cast<int32_t>(field(wordAt(qweight, c * bits / 32 * rows + r), c)); }
  int32_t zero(int64_t g, int64_t r) const {
    const int64_t words = rows * bits / 32;
    return static_cast<int32_t>(field(wordAt(qzeros, g * words + r * bits / 32), r) + static_cast<uint32_t>(zero_offset));
  }
  Result<int64_t> group(int64_t c) const {
    if (!g_idx) return c / group_size;
    const auto index = static_cast<int32_t>(wordAt(g_idx, c));
    if (index < 0 || index >= groups) return invalid(path, ".g_idx[", c, "]: expected a group below ", groups, ", got ", index);
    return int64_t{index};
  }
};

}  // namespace

Result<Stored> storedGptq(const WeightParts& parts, const QuantizationConfig& config) {
  const int64_t bits = config.width.bits, per_word = 32 / bits;
  EXO_ASSIGN(const TensorView* qweight, parts.require("qweight"));
  EXO_ASSIGN(const auto stored, matrixShape(parts, *qweight));
  const int64_t rows = stored.second, columns = stored.first * per_word;
  if (qweight->dtype != DType::kI32 || rows % per_word != 0 || columns == 0)
    return invalid(qweight->name, ": expected I32 [columns / ", per_word, ", rows] with rows a multiple of ", per_word, ", got ", name(qweight->dtype), " ",
                   shapeText(qweight->shape));
  const int64_t group_size = config.width.group_size > 0 ? config.width.group_size : columns;
  const int64_t groups = (columns + group_size - 1) / group_size;
  EXO_ASSIGN(const TensorView* qzeros, parts.require("qzeros", std::array{DType::kI32}, std::array{groups, rows / per_word}));
  EXO_ASSIGN(const TensorView* scales, parts.require("scales", {}, std::array{groups, rows}));
  EXO_ASSIGN(const FloatElements scale_elements, FloatElements::of(*scales));
  const TensorView* g_idx = parts.find("g_idx");
  if (g_idx) {
    EXO_ASSIGN(g_idx, parts.require("g_idx", std::array{DType::kI32}, std::array{columns}));
  }
  const bool in_blocks = group_size % kQuantBlock == 0 || groups == 1;
  StoredTraits traits{{rows, columns}, "GPTQ " + std::to_string(bits) + "-bit, groups of " + std::to_string(group_size), parts.sizeBytes(),
                      bits == 4 && config.symmetric && in_blocks ? Encoding::kW4 : Encoding::kW8, config.symmetric && in_blocks};
  return Stored(std::make_shared<ZeroPointTensor<GptqPacking>>(
      std::move(traits), scale_elements,
      GptqPacking{qweight->bytes.data(), qzeros->bytes.data(), g_idx ? g_idx->bytes.data() : nullptr, rows, groups, group_size, bits, config.zero_offset, parts.path}));
}

}  // namespace exo
