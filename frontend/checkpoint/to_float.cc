#include "frontend/checkpoint/to_float.h"

#include <bit>
#include <cstdint>
#include <cstring>

#include "ir/base/result.h"

namespace exo {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are read as they lie in the file");

float fromBF16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Moves exponent and mantissa into place, then corrects the exponent's bias by a multiplication, which also
// normalises subnormals; infinities and NaNs keep all exponent bits set.
float fromF16(uint16_t bits) {
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const bool special = (bits & 0x7c00) == 0x7c00;
  return std::bit_cast<float>((special ? magnitude | 0x7f800000u : finite) | sign);
}

/// e4m3fn: bias 7, no infinities, all ones is NaN.
float fromE4M3(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80) << 24, magnitude = static_cast<uint32_t>(bits & 0x7f) << 20;
  if ((bits & 0x7f) == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000u);
  // As in fromF16: the multiplication corrects the bias and normalises subnormals.
  return std::bit_cast<float>(std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p120f) | sign);
}

template <class Stored, class Convert>
void convertEach(std::span<const std::byte> bytes, std::span<float> out, Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = convert(stored);
  }
}

}  // namespace

bool convertsToFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF64 || dtype == DType::kF8E4M3;
}

void toFloat(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  EXO_CHECK(convertsToFloat(dtype) && bytes.size() == out.size() * sizeBytes(dtype)) << name(dtype);
  if (out.empty()) return;
  if (dtype == DType::kF32) std::memcpy(out.data(), bytes.data(), bytes.size());
  if (dtype == DType::kBF16) convertEach<uint16_t>(bytes, out, fromBF16);
  if (dtype == DType::kF16) convertEach<uint16_t>(bytes, out, fromF16);
  if (dtype == DType::kF8E4M3) convertEach<uint8_t>(bytes, out, fromE4M3);
  if (dtype == DType::kF64) convertEach<double>(bytes, out, [](double value) { return static_cast<float>(value); });
}

}  // namespace exo
