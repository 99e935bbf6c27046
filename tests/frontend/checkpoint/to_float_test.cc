#include "frontend/checkpoint/to_float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace exo {
namespace {

float half(uint16_t bits) {
  float value = 0.0f;
  toFloat(DType::kF16, std::as_bytes(std::span(&bits, 1)), std::span(&value, 1));
  return value;
}

// IEEE 754 binary16 by its definition: (-1)^s 2^(e-15) (1 + m/1024), subnormal 2^-14 m/1024.
double halfByDefinition(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(ToFloat, EveryHalf) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = half(static_cast<uint16_t>(bits));
    if ((bits & 0x7c00) != 0x7c00) {
      ASSERT_EQ(value, halfByDefinition(static_cast<uint16_t>(bits))) << bits;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    } else if (bits & 0x3ff) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else {
      ASSERT_EQ(value, bits & 0x8000 ? -INFINITY : INFINITY);
    }
  }
}

TEST(ToFloat, BFloat16AndDouble) {
  const std::vector<uint16_t> bf16 = {0x3f80, 0xc049, 0x0000, 0x7f80};  // 1, -3.140625, 0, inf
  std::vector<float> values(4);
  toFloat(DType::kBF16, std::as_bytes(std::span(bf16)), values);
  EXPECT_EQ(values, (std::vector<float>{1.0f, -3.140625f, 0.0f, INFINITY}));
  const std::vector<double> f64 = {0.1, -2.0, 1e300, 0.0};
  toFloat(DType::kF64, std::as_bytes(std::span(f64)), values);
  EXPECT_EQ(values, (std::vector<float>{0.1f, -2.0f, INFINITY, 0.0f}));
}

TEST(ToFloat, AnyAlignment) {
  std::vector<std::byte> bytes(1 + 8);
  const float stored[2] = {1.5f, -7.0f};
  std::memcpy(bytes.data() + 1, stored, 8);
  float values[2] = {};
  toFloat(DType::kF32, std::span(bytes).subspan(1), values);
  EXPECT_EQ(values[0], 1.5f);
  EXPECT_EQ(values[1], -7.0f);
}

}  // namespace
}  // namespace exo
