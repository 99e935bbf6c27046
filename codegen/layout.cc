// Packing and unpacking of weight panels, and the sizes of everything that lies in memory. Formats: layout.h.
// Stateless; safe from any thread.
#include "codegen/layout.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

namespace exo::codegen {
namespace {

using program::Encoding;

int64_t roundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

bool isQuantised(Encoding encoding) { return encoding == program::Q8 || encoding == program::Q4; }

int64_t superblockBytes(Encoding encoding) {
  return encoding == program::Q4 ? kQ4SuperblockBytes : kQ8SuperblockBytes;
}

/// One block of 32 after quantisation: integers and the scale as stored.
struct QuantBlock {
  int32_t values[kBlock] = {};
  uint16_t scale = 0;
};

/// Added to a small number it leaves the nearest integer, ties to even, in the low bits.
constexpr float kRounding = 12582912.0f;  // 1.5 · 2^23

float clampedScale(float scale) { return std::clamp(scale, -65504.0f, 65504.0f); }

/// The value of largest magnitude, the first of equals. Magnitudes compare as integers, which vectorises.
float signedMax(const float* in) {
  int32_t peak = 0, magnitudes[kBlock];
  for (int64_t i = 0; i < kBlock; ++i) {
    magnitudes[i] = std::bit_cast<int32_t>(in[i]) & 0x7fffffff;
    peak = std::max(peak, magnitudes[i]);
  }
  return in[std::find(magnitudes, magnitudes + kBlock, peak) - magnitudes];
}

/// Quantises against the rounded scale, so that the stored scale is the one the error was minimised for.
QuantBlock quantise(Encoding encoding, const float* in) {
  const float signed_max = signedMax(in);
  const bool four_bits = encoding == program::Q4;
  QuantBlock block;
  block.scale = toHalf(clampedScale(four_bits ? signed_max / -8.0f : std::fabs(signed_max) / 127.0f));
  const float scale = fromHalf(block.scale);
  if (scale == 0) return block;
  const float low = four_bits ? -8 : -127, high = four_bits ? 7 : 127;
  for (int64_t i = 0; i < kBlock; ++i) {
    const float value = std::min(std::max(in[i] / scale, low), high);
    block.values[i] = std::bit_cast<int32_t>(value + kRounding) - std::bit_cast<int32_t>(kRounding);
  }
  return block;
}

/// The block in multiples of this scale, if every element is one.
std::optional<QuantBlock> exactMultiples(Encoding encoding, const float* in, uint16_t scale_bits) {
  const float scale = fromHalf(scale_bits), low = encoding == program::Q4 ? -8 : -128;
  QuantBlock block;
  block.scale = scale_bits;
  bool exact = true;
  for (int64_t i = 0; i < kBlock; ++i) {  // without a way out, so that it vectorises
    const float shifted = std::min(std::max(in[i] / scale, low), -low - 1) + kRounding;
    block.values[i] = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRounding);
    exact &= static_cast<float>(block.values[i]) * scale == in[i];
  }
  return exact ? std::optional(block) : std::nullopt;
}

/// Start of block `block` (of 32) in a panel, and of its scales.
struct BlockPlace {
  int64_t values;
  int64_t scales;
};
BlockPlace placeOf(Encoding encoding, int64_t block) {
  const int64_t values_bytes = encoding == program::Q4 ? 256 : 512;
  const int64_t base = block / 2 * superblockBytes(encoding);
  return {base + block % 2 * values_bytes, base + 2 * values_bytes + block % 2 * 32};
}

/// Four values of one lane are adjacent bytes; q8 stores 8 such groups 64 bytes apart, q4 4 of them with two groups in each.
void storeBlock(Encoding encoding, const QuantBlock& quant, std::byte* panel, int64_t block, int64_t lane) {
  const BlockPlace place = placeOf(encoding, block);
  std::byte* to = panel + place.values + 4 * lane;
  for (int64_t k = 0; k < kBlock; k += encoding == program::Q4 ? 8 : 4, to += 64) {
    for (int64_t i = 0; i < 4; ++i) {
      to[i] = static_cast<std::byte>(encoding == program::Q4 ? (quant.values[k + i] + 8) | (quant.values[k + 4 + i] + 8) << 4
                                                              : quant.values[k + i] + 128);
    }
  }
  std::memcpy(panel + place.scales + 2 * lane, &quant.scale, 2);
}

QuantBlock loadBlock(Encoding encoding, const std::byte* panel, int64_t block, int64_t lane) {
  const BlockPlace place = placeOf(encoding, block);
  const std::byte* from = panel + place.values + 4 * lane;
  QuantBlock quant;
  for (int64_t k = 0; k < kBlock; k += encoding == program::Q4 ? 8 : 4, from += 64) {
    for (int64_t i = 0; i < 4; ++i) {
      const int bits = std::to_integer<int>(from[i]);
      quant.values[k + i] = encoding == program::Q4 ? (bits & 15) - 8 : bits - 128;
      if (encoding == program::Q4) quant.values[k + 4 + i] = (bits >> 4) - 8;
    }
  }
  std::memcpy(&quant.scale, panel + place.scales + 2 * lane, 2);
  return quant;
}

/// `scales`: offered ones, one per block of the row, or none.
void packQuantisedRow(Encoding encoding, std::span<const float> row, std::span<const uint16_t> scales, std::byte* panel, int64_t lane) {
  const int64_t blocks = roundUp(static_cast<int64_t>(row.size()), kSuperblock) / kBlock;
  for (int64_t block = 0; block < blocks; ++block) {
    float values[kBlock] = {};
    for (int64_t i = 0; i < kBlock && block * kBlock + i < static_cast<int64_t>(row.size()); ++i) values[i] = row[block * kBlock + i];
    const bool is_offered = block < static_cast<int64_t>(scales.size());
    const auto kept = is_offered ? exactMultiples(encoding, values, scales[static_cast<size_t>(block)]) : std::nullopt;
    storeBlock(encoding, kept ? *kept : quantise(encoding, values), panel, block, lane);
  }
}

void packPlainRow(Encoding encoding, std::span<const float> row, std::byte* panel, int64_t lane) {
  for (size_t k = 0; k < row.size(); ++k) {
    const int64_t index = static_cast<int64_t>(k) * kPanelRows + lane;
    if (encoding == program::F32) {
      std::memcpy(panel + 4 * index, &row[k], 4);
    } else {
      const uint16_t bits = encoding == program::F16 ? toHalf(row[k]) : toBFloat(row[k]);
      std::memcpy(panel + 2 * index, &bits, 2);
    }
  }
}

void packRow(Encoding encoding, std::span<const float> row, std::span<const uint16_t> scales, std::byte* panel, int64_t lane) {
  if (isQuantised(encoding)) return packQuantisedRow(encoding, row, scales, panel, lane);
  packPlainRow(encoding, row, panel, lane);
}

Status checkRow(Encoding encoding, int64_t row, std::span<const float> values) {
  for (size_t k = 0; k < values.size(); ++k) {
    if (!std::isfinite(values[k])) return invalid("weight at row ", row, " column ", k, " is not a finite number");
    if (encoding == program::F16 && std::fabs(values[k]) > 65504.0f) {
      return invalid("weight at row ", row, " column ", k, " is ", values[k], ", beyond the f16 range of 65504; use bf16 or f32");
    }
  }
  return {};
}

/// Missing rows of the last panel: integers of zero. (Plain encodings are zero already.)
void padRows(Encoding encoding, int64_t rows, int64_t columns, std::byte* out) {
  if (!isQuantised(encoding)) return;
  const std::vector<float> zeros(columns, 0.0f);
  for (int64_t row = rows; row < roundUp(rows, kPanelRows); ++row) {
    packRow(encoding, zeros, {}, out + row / kPanelRows * panelBytes(encoding, columns), row % kPanelRows);
  }
}

void unpackQuantisedRow(Encoding encoding, const std::byte* panel, int64_t lane, std::span<float> out) {
  const int64_t columns = static_cast<int64_t>(out.size());
  for (int64_t k = 0; k < columns; k += kBlock) {
    const QuantBlock quant = loadBlock(encoding, panel, k / kBlock, lane);
    const float scale = fromHalf(quant.scale);
    for (int64_t i = 0; i < std::min(kBlock, columns - k); ++i) out[k + i] = static_cast<float>(quant.values[i]) * scale;
  }
}

void unpackPlainRow(Encoding encoding, const std::byte* panel, int64_t lane, std::span<float> out) {
  for (size_t k = 0; k < out.size(); ++k) {
    const int64_t index = static_cast<int64_t>(k) * kPanelRows + lane;
    if (encoding == program::F32) {
      std::memcpy(&out[k], panel + 4 * index, 4);
    } else {
      uint16_t bits;
      std::memcpy(&bits, panel + 2 * index, 2);
      out[k] = encoding == program::F16 ? fromHalf(bits) : fromBFloat(bits);
    }
  }
}

int64_t elementBytes(Encoding encoding) { return encoding == program::F16 || encoding == program::BF16 ? 2 : 4; }

}  // namespace

int64_t panelBytes(Encoding encoding, int64_t columns) {
  if (isQuantised(encoding)) return roundUp(columns, kSuperblock) / kSuperblock * superblockBytes(encoding);
  EXO_CHECK(encoding == program::F32 || encoding == program::BF16 || encoding == program::F16)
      << "no panels of encoding " << program::Encoding_Name(encoding);
  return encoding == program::F32 ? columns * kPanelRows * 4 : roundUp(columns, 2) * kPanelRows * 2;
}

int64_t packedBytes(Encoding encoding, int64_t rows, int64_t columns) {
  return roundUp(rows, kPanelRows) / kPanelRows * panelBytes(encoding, columns);
}

int64_t activationRowBytes(Encoding encoding, int64_t columns) {
  if (encoding == program::X8) return roundUp(columns, kSuperblock) / kSuperblock * kX8SuperblockBytes;
  return columns * elementBytes(encoding);
}

Status packPanels(Encoding encoding, int64_t rows, int64_t columns, const RowReader& read, std::span<std::byte> out, const ScaleReader& scales) {
  if (rows < 0 || columns < 0) return invalid("cannot pack a weight of shape [", rows, ", ", columns, "]");
  const int64_t bytes = packedBytes(encoding, rows, columns);
  if (static_cast<int64_t>(out.size()) < bytes) {
    return invalid("packed weight [", rows, ", ", columns, "] needs ", bytes, " bytes, got ", out.size());
  }
  std::fill_n(out.begin(), bytes, std::byte{0});
  std::vector<float> values(columns);
  std::vector<uint16_t> offered(static_cast<size_t>(scales && isQuantised(encoding) ? roundUp(columns, kBlock) / kBlock : 0));
  for (int64_t row = 0; row < rows; ++row) {
    EXO_TRY(read(row, values));
    EXO_TRY(checkRow(encoding, row, values));
    const bool has_scales = !offered.empty() && scales(row, offered);
    packRow(encoding, values, has_scales ? offered : std::span<const uint16_t>(), out.data() + row / kPanelRows * panelBytes(encoding, columns), row % kPanelRows);
  }
  padRows(encoding, rows, columns, out.data());
  return {};
}

void unpackRow(Encoding encoding, int64_t rows, int64_t columns, std::span<const std::byte> packed, int64_t row,
               std::span<float> out) {
  EXO_CHECK(row >= 0 && row < rows && static_cast<int64_t>(out.size()) == columns) << "row " << row << " of " << rows;
  const std::byte* panel = packed.data() + row / kPanelRows * panelBytes(encoding, columns);
  if (isQuantised(encoding)) return unpackQuantisedRow(encoding, panel, row % kPanelRows, out);
  unpackPlainRow(encoding, panel, row % kPanelRows, out);
}

void roundTrip(Encoding encoding, std::span<float> row) {
  if (encoding == program::F32 || row.empty()) return;
  std::vector<std::byte> panel(panelBytes(encoding, static_cast<int64_t>(row.size())), std::byte{0});
  packRow(encoding, row, {}, panel.data(), 0);
  unpackRow(encoding, 1, static_cast<int64_t>(row.size()), panel, 0, row);
}

int64_t cacheHeadBytes(Encoding encoding, int64_t key_dim, int64_t value_dim) {
  if (value_dim == 0) return kPageTokens * cacheValueStride(key_dim) * elementBytes(encoding);
  return kPageTokens * (key_dim + cacheValueStride(value_dim)) * elementBytes(encoding);
}

int64_t cacheBytes(Encoding encoding, int64_t pages, int64_t kv_heads, int64_t key_dim, int64_t value_dim) {
  return pages * kv_heads * cacheHeadBytes(encoding, key_dim, value_dim);
}

uint16_t toHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);   // NaN
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // rounds to infinity
  if (magnitude < 0x38800000) {  // subnormal: adding 0.5 aligns the result's unit with the float's last bit
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3f000000));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

float fromHalf(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  if (magnitude < 0x400) return std::copysign(static_cast<float>(magnitude) * 0x1p-24f, sign ? -1.0f : 1.0f);
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000));
}

uint16_t toBFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float fromBFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

}  // namespace exo::codegen
