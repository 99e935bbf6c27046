// Each element type against a packer of the test: numbers are made up, packed in the order in which the format's
// description lists bytes, and must come back as scale · number.
#include "frontend/gguf/types.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

namespace exo {
namespace {

constexpr uint16_t kHalf = 0x3800, kQuarter = 0x3400, kMinusTwo = 0xc000;  // f16 of 0.5, 0.25, -2

void append16(std::vector<uint8_t>& block, uint16_t value) {
  block.push_back(static_cast<uint8_t>(value & 0xff));
  block.push_back(static_cast<uint8_t>(value >> 8));
}

void expectBlock(uint32_t id, const std::vector<uint8_t>& block, const std::function<float(int)>& value) {
  const GgufType* type = findGgufType(id);
  ASSERT_NE(type, nullptr);
  ASSERT_EQ(static_cast<size_t>(type->block_bytes), block.size()) << type->name;
  std::array<float, kMaxGgufBlock> out{};
  type->dequantise(reinterpret_cast<const std::byte*>(block.data()), out.data());
  for (int e = 0; e < type->block_elements; ++e) ASSERT_EQ(out[static_cast<size_t>(e)], value(e)) << type->name << " element " << e;
}

int number(int e, int range) { return (e * 37 + e / 7 * 11 + 5) % range; }

/// Bytes 0..15 with element j low and j + 16 high.
void appendNibbles(std::vector<uint8_t>& block, int range) {
  for (int j = 0; j < 16; ++j) block.push_back(static_cast<uint8_t>((number(j, range) & 15) | (number(j + 16, range) & 15) << 4));
}

void appendFifthBits(std::vector<uint8_t>& block) {
  uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<uint32_t>(number(j, 32) >> 4) << j;
  for (int i = 0; i < 4; ++i) block.push_back(static_cast<uint8_t>(bits >> (8 * i)));
}

TEST(GgufTypes, Q4_0AndQ4_1) {
  std::vector<uint8_t> block;
  append16(block, kMinusTwo);
  appendNibbles(block, 16);
  expectBlock(2, block, [](int e) { return -2.0f * static_cast<float>(number(e, 16) - 8); });
  block.clear();
  append16(block, kHalf);
  append16(block, kMinusTwo);
  appendNibbles(block, 16);
  expectBlock(3, block, [](int e) { return 0.5f * static_cast<float>(number(e, 16)) - 2.0f; });
}

TEST(GgufTypes, Q5_0AndQ5_1) {
  std::vector<uint8_t> block;
  append16(block, kHalf);
  appendFifthBits(block);
  appendNibbles(block, 32);
  expectBlock(6, block, [](int e) { return 0.5f * static_cast<float>(number(e, 32) - 16); });
  block.clear();
  append16(block, kHalf);
  append16(block, kQuarter);
  appendFifthBits(block);
  appendNibbles(block, 32);
  expectBlock(7, block, [](int e) { return 0.5f * static_cast<float>(number(e, 32)) + 0.25f; });
}

TEST(GgufTypes, Q8_0) {
  std::vector<uint8_t> block;
  append16(block, kQuarter);
  for (int j = 0; j < 32; ++j) block.push_back(static_cast<uint8_t>(number(j, 256) - 128));
  expectBlock(8, block, [](int e) { return 0.25f * static_cast<float>(number(e, 256) - 128); });
}

TEST(GgufTypes, Iq4NlAndMxfp4) {
  constexpr int kTable[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  std::vector<uint8_t> block;
  append16(block, kHalf);
  appendNibbles(block, 16);
  expectBlock(20, block, [&](int e) { return 0.5f * static_cast<float>(kTable[number(e, 16)]); });
  constexpr float kE2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  block = {125};  // 2^-2
  appendNibbles(block, 16);
  expectBlock(39, block, [&](int e) { return 0.25f * kE2m1[number(e, 16)]; });
}

TEST(GgufTypes, Q2K) {
  std::vector<uint8_t> block;
  for (int group = 0; group < 16; ++group) block.push_back(static_cast<uint8_t>(number(group, 16) | number(group + 20, 16) << 4));
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < 32; ++l) {
      int byte = 0;
      for (int pair = 0; pair < 4; ++pair) byte |= number(half * 128 + pair * 32 + l, 4) << (2 * pair);
      block.push_back(static_cast<uint8_t>(byte));
    }
  append16(block, kHalf);
  append16(block, kQuarter);
  expectBlock(10, block, [](int e) { return 0.5f * static_cast<float>(number(e / 16, 16) * number(e, 4)) - 0.25f * static_cast<float>(number(e / 16 + 20, 16)); });
}

TEST(GgufTypes, Q3K) {
  std::vector<uint8_t> block(32, 0);
  for (int e = 0; e < 256; ++e) block[static_cast<size_t>(e % 32)] |= static_cast<uint8_t>((number(e, 8) >> 2) << (e / 32));
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < 32; ++l) {
      int byte = 0;
      for (int pair = 0; pair < 4; ++pair) byte |= (number(half * 128 + pair * 32 + l, 8) & 3) << (2 * pair);
      block.push_back(static_cast<uint8_t>(byte));
    }
  std::vector<uint8_t> scales(12, 0);
  for (int group = 0; group < 16; ++group) {
    const int scale = number(group, 64);
    scales[static_cast<size_t>(group % 8)] |= static_cast<uint8_t>((scale & 15) << (group < 8 ? 0 : 4));
    scales[static_cast<size_t>(8 + group % 4)] |= static_cast<uint8_t>((scale >> 4) << (2 * (group / 4)));
  }
  block.insert(block.end(), scales.begin(), scales.end());
  append16(block, kHalf);
  expectBlock(11, block, [](int e) { return 0.5f * static_cast<float>((number(e / 16, 64) - 32) * (number(e, 8) - 4)); });
}

/// Scales and minima of eight blocks, 6 bits each, in 12 bytes.
std::vector<uint8_t> packedScales() {
  std::vector<uint8_t> bytes(12, 0);
  for (size_t b = 0; b < 4; ++b) {
    const int scale = number(static_cast<int>(b), 64), minimum = number(static_cast<int>(b) + 10, 64);
    const int upper_scale = number(static_cast<int>(b) + 4, 64), upper_minimum = number(static_cast<int>(b) + 14, 64);
    bytes[b] = static_cast<uint8_t>(scale | (upper_scale >> 4) << 6);
    bytes[b + 4] = static_cast<uint8_t>(minimum | (upper_minimum >> 4) << 6);
    bytes[b + 8] = static_cast<uint8_t>((upper_scale & 15) | (upper_minimum & 15) << 4);
  }
  return bytes;
}

void appendPairedNibbles(std::vector<uint8_t>& block, int range) {
  for (int pair = 0; pair < 4; ++pair)
    for (int l = 0; l < 32; ++l) block.push_back(static_cast<uint8_t>((number(pair * 64 + l, range) & 15) | (number(pair * 64 + 32 + l, range) & 15) << 4));
}

TEST(GgufTypes, Q4KAndQ5K) {
  const std::vector<uint8_t> scales = packedScales();
  std::vector<uint8_t> block;
  append16(block, kHalf);
  append16(block, kQuarter);
  block.insert(block.end(), scales.begin(), scales.end());
  std::vector<uint8_t> five = block;
  appendPairedNibbles(block, 16);
  const auto value = [](int e, int q) { return 0.5f * static_cast<float>(number(e / 32, 64) * q) - 0.25f * static_cast<float>(number(e / 32 + 10, 64)); };
  expectBlock(12, block, [&](int e) { return value(e, number(e, 16)); });
  std::vector<uint8_t> high(32, 0);
  for (int e = 0; e < 256; ++e) high[static_cast<size_t>(e % 32)] |= static_cast<uint8_t>((number(e, 32) >> 4) << (e / 32));
  five.insert(five.end(), high.begin(), high.end());
  appendPairedNibbles(five, 32);
  expectBlock(13, five, [&](int e) { return value(e, number(e, 32)); });
}

TEST(GgufTypes, Q6K) {
  std::vector<uint8_t> low, high, scales;
  for (int half = 0; half < 2; ++half) {
    const auto q = [&](int e) { return number(half * 128 + e, 64); };
    for (int l = 0; l < 64; ++l) low.push_back(static_cast<uint8_t>((q(l) & 15) | (q(l + 64) & 15) << 4));
    for (int l = 0; l < 32; ++l) high.push_back(static_cast<uint8_t>(q(l) >> 4 | (q(l + 32) >> 4) << 2 | (q(l + 64) >> 4) << 4 | (q(l + 96) >> 4) << 6));
  }
  for (int group = 0; group < 16; ++group) scales.push_back(static_cast<uint8_t>(number(group, 256) - 128));
  std::vector<uint8_t> block = low;
  block.insert(block.end(), high.begin(), high.end());
  block.insert(block.end(), scales.begin(), scales.end());
  append16(block, kHalf);
  expectBlock(14, block, [](int e) { return 0.5f * static_cast<float>((number(e / 16, 256) - 128) * (number(e, 64) - 32)); });
}

TEST(GgufTypes, PlainTypes) {
  expectBlock(0, {0x00, 0x00, 0x20, 0xc0}, [](int) { return -2.5f; });
  expectBlock(1, {0x00, 0xc1}, [](int) { return -2.5f; });
  expectBlock(30, {0x20, 0xc0}, [](int) { return -2.5f; });
}

TEST(GgufTypes, NumbersAndNamesAreUnique) {
  for (const GgufType& a : ggufTypes())
    for (const GgufType& b : ggufTypes()) EXPECT_EQ(&a == &b, a.id == b.id || a.name == b.name) << a.name << " " << b.name;
}

}  // namespace
}  // namespace exo
