// Packed formats: sizes, round trips, number formats, refusals.
#include "codegen/layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace exo::codegen {
namespace {

using program::Encoding;

TEST(Half, EveryValueSurvives) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00) == 0x7c00 && (bits & 0x3ff)) continue;  // NaN payloads need not survive
    ASSERT_EQ(toHalf(fromHalf(static_cast<uint16_t>(bits))), bits);
  }
}

TEST(Half, AgreesWithTheCompiler) {
  std::mt19937 generator(1);
  for (int i = 0; i < 1000000; ++i) {
    float value;
    const uint32_t bits = generator();
    std::memcpy(&value, &bits, 4);
    if (std::isnan(value)) continue;
    const _Float16 expected = static_cast<_Float16>(value);
    uint16_t expected_bits;
    std::memcpy(&expected_bits, &expected, 2);
    ASSERT_EQ(toHalf(value), expected_bits) << value;
    ASSERT_EQ(fromHalf(expected_bits), static_cast<float>(expected));
  }
}

TEST(BFloat, RoundsToNearestEven) {
  EXPECT_EQ(toBFloat(1.0f), 0x3f80);
  EXPECT_EQ(toBFloat(1.00390625f), 0x3f80);   // halfway: to even
  EXPECT_EQ(toBFloat(1.01171875f), 0x3f82);   // halfway: to even, upwards
  EXPECT_EQ(fromBFloat(0x3f81), 1.0078125f);
}

std::vector<std::byte> pack(Encoding encoding, int64_t rows, int64_t columns, const std::vector<float>& values) {
  std::vector<std::byte> out(packedBytes(encoding, rows, columns));
  const Status packed = packPanels(encoding, rows, columns, [&](int64_t row, std::span<float> to) {
    std::copy_n(values.begin() + row * columns, columns, to.begin());
    return Status();
  }, out);
  EXO_CHECK(packed.ok()) << packed.error();
  return out;
}

/// Blocks whose largest element does not use the encoding's range: requantised they would change.
TEST(Panels, OfferedScalesKeepEveryBit) {
  constexpr int64_t kColumns = 96;
  for (const Encoding encoding : {program::Q8, program::Q4}) {
    const int32_t low = encoding == program::Q4 ? -7 : -100;
    const std::vector<uint16_t> scales = {0x2e66, 0x0003, 0xa001};  // 0.1, a subnormal, a negative one
    std::vector<float> values(kColumns), unpacked(kColumns);
    for (int64_t k = 0; k < kColumns; ++k) values[k] = static_cast<float>(low + k % 13) * fromHalf(scales[k / 32]);
    std::vector<std::byte> out(packedBytes(encoding, 1, kColumns));
    const auto row = [&](int64_t, std::span<float> to) {
      std::copy(values.begin(), values.end(), to.begin());
      return Status();
    };
    const auto offer = [&](int64_t, std::span<uint16_t> to) {
      EXPECT_EQ(to.size(), scales.size());
      std::copy(scales.begin(), scales.end(), to.begin());
      return true;
    };
    ASSERT_TRUE(packPanels(encoding, 1, kColumns, row, out, offer).ok());
    unpackRow(encoding, 1, kColumns, out, 0, unpacked);
    EXPECT_EQ(unpacked, values);
    ASSERT_TRUE(packPanels(encoding, 1, kColumns, row, out).ok());
    unpackRow(encoding, 1, kColumns, out, 0, unpacked);
    EXPECT_NE(unpacked, values);
    // A scale that does not reproduce the block is not used.
    values[40] = 1.0f;
    ASSERT_TRUE(packPanels(encoding, 1, kColumns, row, out, offer).ok());
    unpackRow(encoding, 1, kColumns, out, 0, unpacked);
    EXPECT_NEAR(unpacked[40], 1.0f, 1e-3f);
    EXPECT_EQ(unpacked[0], values[0]);
  }
}

TEST(Panels, Sizes) {
  EXPECT_EQ(packedBytes(program::Q4, 16, 64), 576);
  EXPECT_EQ(packedBytes(program::Q4, 17, 65), 4 * 576);
  EXPECT_EQ(packedBytes(program::Q8, 1, 1), 1088);
  EXPECT_EQ(packedBytes(program::F32, 16, 3), 16 * 3 * 4);
  EXPECT_EQ(packedBytes(program::BF16, 1, 3), 16 * 4 * 2);
  EXPECT_EQ(packedBytes(program::Q4, 0, 64), 0);
  EXPECT_EQ(activationRowBytes(program::X8, 64), 80);
  EXPECT_EQ(activationRowBytes(program::X8, 65), 160);
  EXPECT_EQ(activationRowBytes(program::F32, 5), 20);
}

TEST(Panels, RoundTripEqualsUnpackedAndIsClose) {
  std::mt19937 generator(2);
  std::normal_distribution<float> normal;
  for (Encoding encoding : {program::F32, program::BF16, program::F16, program::Q8, program::Q4}) {
    for (int64_t rows : {1, 16, 35}) {
      for (int64_t columns : {1, 32, 63, 64, 65, 200}) {
        std::vector<float> values(rows * columns);
        for (float& value : values) value = normal(generator);
        const auto packed = pack(encoding, rows, columns, values);
        const double step = encoding == program::F32 ? 0 : encoding == program::Q4 ? 0.5 / 7.9 : encoding == program::BF16 ? 1 / 256.0 : 1 / 250.0;
        for (int64_t row = 0; row < rows; ++row) {
          std::vector<float> unpacked(columns), round(values.begin() + row * columns, values.begin() + (row + 1) * columns);
          unpackRow(encoding, rows, columns, packed, row, unpacked);
          roundTrip(encoding, round);
          ASSERT_EQ(unpacked, round) << program::Encoding_Name(encoding);
          for (int64_t k = 0; k < columns; ++k) {
            float peak = 0;
            for (int64_t j = k / 32 * 32; j < std::min(columns, k / 32 * 32 + 32); ++j) peak = std::max(peak, std::fabs(values[row * columns + j]));
            // q4 clips values near the positive end when the largest is negative: one step instead of half.
            ASSERT_NEAR(unpacked[k], values[row * columns + k], peak * step * (encoding == program::Q4 ? 2.1 : 1.01));
          }
        }
      }
    }
  }
}

TEST(Panels, Q4SignedMaximumIsMinusEight) {
  std::vector<float> block(32, 0.0f);
  block[3] = -4.0f;  // scale 0.5
  block[4] = 3.5f;
  block[5] = 0.26f;
  auto expected = block;
  expected[5] = 0.5f;
  roundTrip(program::Q4, block);
  EXPECT_EQ(block, expected);
}

TEST(Panels, RefusesWhatCannotBeStored) {
  std::vector<std::byte> out(packedBytes(program::F16, 1, 2));
  auto reader = [](float value) {
    return [value](int64_t, std::span<float> to) {
      to[0] = 0, to[1] = value;
      return Status();
    };
  };
  const Status infinite = packPanels(program::F16, 1, 2, reader(std::numeric_limits<float>::infinity()), out);
  ASSERT_FALSE(infinite.ok());
  EXPECT_NE(infinite.error().message().find("row 0 column 1"), std::string::npos);
  EXPECT_FALSE(packPanels(program::F16, 1, 2, reader(70000.0f), out).ok());
  EXPECT_FALSE(packPanels(program::F32, 1, 2, reader(1.0f), std::span(out).first(8)).ok());
  EXPECT_FALSE(packPanels(program::F16, 1, 2, [](int64_t, std::span<float>) { return Status(invalid("no such row")); }, out).ok());
}

TEST(Cache, Bytes) {
  EXPECT_EQ(cacheHeadBytes(program::F16, 128, 128), 64 * 256 * 2);
  EXPECT_EQ(cacheHeadBytes(program::F32, 20, 20), 64 * (20 + 32) * 4);
  EXPECT_EQ(cacheBytes(program::F16, 3, 2, 128, 128), 6 * 64 * 256 * 2);
}

}  // namespace
}  // namespace exo::codegen
