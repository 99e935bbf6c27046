// bf16 as it travels: the upper half of an f32.
#pragma once

#include <bit>
#include <cstdint>

namespace exo::collectives {

struct Bf16 {
  uint16_t bits = 0;
};

inline float toFloat(Bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

/// To nearest, ties to even; beyond the largest: infinity; NaN stays NaN.
inline Bf16 toBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

}  // namespace exo::collectives
