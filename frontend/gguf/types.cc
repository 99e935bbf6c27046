#include "frontend/gguf/types.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "frontend/checkpoint/to_float.h"

namespace exo {
namespace {

float half(const std::byte* at) {
  float value;
  toFloat(DType::kF16, {at, 2}, {&value, 1});
  return value;
}

int32_t u8(const std::byte* at, int64_t index) { return std::to_integer<int32_t>(at[index]); }
int32_t i8(const std::byte* at, int64_t index) { return static_cast<int8_t>(std::to_integer<uint8_t>(at[index])); }

template <DType kDType>
void plain(const std::byte* block, float* out) {
  toFloat(kDType, {block, sizeBytes(kDType)}, {out, 1});
}

// Blocks of 32 in which byte j of 16 holds elements j (low nibble) and j + 16 (high nibble).
template <class Element>
void nibbles(const std::byte* bytes, float* out, Element element) {
  for (int64_t j = 0; j < 16; ++j) {
    out[j] = element(u8(bytes, j) & 15, j);
    out[j + 16] = element(u8(bytes, j) >> 4, j + 16);
  }
}

// [d][16 bytes]: w = (q - 8) · d
void q4_0(const std::byte* block, float* out) {
  const float d = half(block);
  nibbles(block + 2, out, [&](int32_t q, int64_t) { return static_cast<float>(q - 8) * d; });
}

// [d][m][16 bytes]: w = q · d + m
void q4_1(const std::byte* block, float* out) {
  const float d = half(block), m = half(block + 2);
  nibbles(block + 4, out, [&](int32_t q, int64_t) { return static_cast<float>(q) * d + m; });
}

/// The fifth bit of element j: bit j of 32.
int32_t fifthBit(const std::byte* bits, int64_t j) { return (u8(bits, j / 8) >> (j % 8) & 1) << 4; }

// [d][32 fifth bits][16 bytes]: w = (q - 16) · d
void q5_0(const std::byte* block, float* out) {
  const float d = half(block);
  nibbles(block + 6, out, [&](int32_t q, int64_t j) { return static_cast<float>((q | fifthBit(block + 2, j)) - 16) * d; });
}

// [d][m][32 fifth bits][16 bytes]: w = q · d + m
void q5_1(const std::byte* block, float* out) {
  const float d = half(block), m = half(block + 2);
  nibbles(block + 8, out, [&](int32_t q, int64_t j) { return static_cast<float>(q | fifthBit(block + 4, j)) * d + m; });
}

// [d][32 int8]: w = q · d
void q8_0(const std::byte* block, float* out) {
  const float d = half(block);
  for (int64_t j = 0; j < 32; ++j) out[j] = static_cast<float>(i8(block + 2, j)) * d;
}

constexpr std::array<int8_t, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// [d][16 bytes]: w = table[q] · d
void iq4_nl(const std::byte* block, float* out) {
  const float d = half(block);
  nibbles(block + 2, out, [&](int32_t q, int64_t) { return static_cast<float>(kNonLinear[static_cast<size_t>(q)]) * d; });
}

// Twice the values of e2m1.
constexpr std::array<int8_t, 16> kDoubledE2m1 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// [e8m0][16 bytes]: w = e2m1[q] · 2^(e - 127)
void mxfp4(const std::byte* block, float* out) {
  const int exponent = u8(block, 0);
  const float scale = exponent == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, exponent - 128);
  nibbles(block + 1, out, [&](int32_t q, int64_t) { return static_cast<float>(kDoubledE2m1[static_cast<size_t>(q)]) * scale; });
}

// Superblocks of 256. The two halves of 128 take 32 bytes of q each; pair s of bits (s = 0..3) of the 32 bytes are the
// half's elements 32·s .. 32·s + 31. Element e of the superblock belongs to group e / 16.

/// The two low bits of element e.
int32_t lowPair(const std::byte* q, int64_t e) { return u8(q, e / 128 * 32 + e % 32) >> (e % 128 / 32 * 2) & 3; }

// [16 bytes: scale (low nibble) and minimum of each group][64 bytes q][d][m]: w = d · scale · q - m · minimum
void q2_k(const std::byte* block, float* out) {
  const float d = half(block + 80), m = half(block + 82);
  for (int64_t e = 0; e < 256; ++e) {
    const int32_t group = u8(block, e / 16);
    out[e] = d * static_cast<float>(group & 15) * static_cast<float>(lowPair(block + 16, e)) - m * static_cast<float>(group >> 4);
  }
}

/// Scale of group g of q3_k, 6 bits, stored + 32: four low bits in bytes 0..7 (low nibbles first), two high ones in 8..11.
int32_t q3Scale(const std::byte* scales, int64_t g) {
  const int32_t low = g < 8 ? u8(scales, g) & 15 : u8(scales, g - 8) >> 4;
  const int32_t high = u8(scales, 8 + g % 4) >> (g / 4 * 2) & 3;
  return (low | high << 4) - 32;
}

// [32 bytes: bit e / 32 of byte e % 32, zero means - 4][64 bytes q][12 bytes scales][d]: w = d · scale · (q - 4 or 0)
void q3_k(const std::byte* block, float* out) {
  const float d = half(block + 108);
  for (int64_t e = 0; e < 256; ++e) {
    const int32_t q = lowPair(block + 32, e) - (u8(block, e % 32) >> (e / 32) & 1 ? 0 : 4);
    out[e] = d * static_cast<float>(q3Scale(block + 96, e / 16)) * static_cast<float>(q);
  }
}

struct ScaleAndMinimum {
  int32_t scale, minimum;
};

/// Of block b (of 32 elements, 8 in all): 6 bits each in 12 bytes: those of blocks 0..3 in the low bits of bytes 0..3 and 4..7;
/// those of 4..7 have their low nibbles in bytes 8..11 and their two high bits above the others.
ScaleAndMinimum packedScales(const std::byte* s, int64_t b) {
  if (b < 4) return {u8(s, b) & 63, u8(s, b + 4) & 63};
  return {(u8(s, b + 4) & 15) | u8(s, b - 4) >> 6 << 4, u8(s, b + 4) >> 4 | u8(s, b) >> 6 << 4};
}

/// Blocks 2p and 2p + 1 share 32 bytes of nibbles, the low ones first.
int32_t pairedNibble(const std::byte* q, int64_t e) { return u8(q, e / 64 * 32 + e % 32) >> (e / 32 % 2 * 4) & 15; }

// [d][m][12 bytes scales][128 bytes q]: w = d · scale · q - m · minimum
void q4_k(const std::byte* block, float* out) {
  const float d = half(block), m = half(block + 2);
  for (int64_t e = 0; e < 256; ++e) {
    const auto [scale, minimum] = packedScales(block + 4, e / 32);
    out[e] = d * static_cast<float>(scale) * static_cast<float>(pairedNibble(block + 16, e)) - m * static_cast<float>(minimum);
  }
}

// [d][m][12 bytes scales][32 bytes fifth bits: bit e / 32 of byte e % 32][128 bytes q]
void q5_k(const std::byte* block, float* out) {
  const float d = half(block), m = half(block + 2);
  for (int64_t e = 0; e < 256; ++e) {
    const auto [scale, minimum] = packedScales(block + 4, e / 32);
    const int32_t q = pairedNibble(block + 48, e) | (u8(block + 16, e % 32) >> (e / 32) & 1) << 4;
    out[e] = d * static_cast<float>(scale) * static_cast<float>(q) - m * static_cast<float>(minimum);
  }
}

// [128 bytes low nibbles][64 bytes high pairs][16 int8 scales][d]: w = d · scale · (q - 32). Per half of 128: quarter t
// has its nibbles in 32 · (t % 2) .. of the half's 64 bytes, low ones for t < 2, and its pairs as in lowPair.
void q6_k(const std::byte* block, float* out) {
  const float d = half(block + 208);
  for (int64_t e = 0; e < 256; ++e) {
    const int64_t quarter = e % 128 / 32;
    const int32_t low = u8(block, e / 128 * 64 + quarter % 2 * 32 + e % 32) >> (quarter / 2 * 4) & 15;
    const int32_t q = (low | lowPair(block + 128, e) << 4) - 32;
    out[e] = d * static_cast<float>(i8(block + 192, e / 16)) * static_cast<float>(q);
  }
}

constexpr std::array kTypes = {
    GgufType{0, "F32", 1, 4, plain<DType::kF32>},
    GgufType{1, "F16", 1, 2, plain<DType::kF16>},
    GgufType{2, "Q4_0", 32, 18, q4_0, GgufScale::kFirstHalf, true},
    GgufType{3, "Q4_1", 32, 20, q4_1},
    GgufType{6, "Q5_0", 32, 22, q5_0, GgufScale::kFirstHalf},
    GgufType{7, "Q5_1", 32, 24, q5_1},
    GgufType{8, "Q8_0", 32, 34, q8_0, GgufScale::kFirstHalf},
    GgufType{9, "Q8_1", 32, 36, nullptr},
    GgufType{10, "Q2_K", 256, 84, q2_k},
    GgufType{11, "Q3_K", 256, 110, q3_k},
    GgufType{12, "Q4_K", 256, 144, q4_k},
    GgufType{13, "Q5_K", 256, 176, q5_k},
    GgufType{14, "Q6_K", 256, 210, q6_k},
    GgufType{15, "Q8_K", 256, 292, nullptr},
    GgufType{16, "IQ2_XXS", 256, 66, nullptr},
    GgufType{17, "IQ2_XS", 256, 74, nullptr},
    GgufType{18, "IQ3_XXS", 256, 98, nullptr},
    GgufType{19, "IQ1_S", 256, 50, nullptr},
    GgufType{20, "IQ4_NL", 32, 18, iq4_nl, GgufScale::kFirstHalf},
    GgufType{21, "IQ3_S", 256, 110, nullptr},
    GgufType{22, "IQ2_S", 256, 82, nullptr},
    GgufType{23, "IQ4_XS", 256, 136, nullptr},
    GgufType{24, "I8", 1, 1, nullptr},
    GgufType{25, "I16", 1, 2, nullptr},
    GgufType{26, "I32", 1, 4, nullptr},
    GgufType{27, "I64", 1, 8, nullptr},
    GgufType{28, "F64", 1, 8, plain<DType::kF64>},
    GgufType{29, "IQ1_M", 256, 56, nullptr},
    GgufType{30, "BF16", 1, 2, plain<DType::kBF16>},
    GgufType{34, "TQ1_0", 256, 54, nullptr},
    GgufType{35, "TQ2_0", 256, 66, nullptr},
    GgufType{39, "MXFP4", 32, 17, mxfp4, GgufScale::kHalfE8m0},
};

}  // namespace

const GgufType* findGgufType(uint32_t id) {
  for (const GgufType& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

std::span<const GgufType> ggufTypes() { return kTypes; }

}  // namespace exo
