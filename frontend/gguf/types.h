// The element types of GGUF tensors: blocks along the innermost dimension, and how each becomes f32. One table.
// d, m: f16 scale and minimum of a block; q: integers, the lower bits first unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace exo {

/// How a type's blocks of 32 are integers times one f16 scale, if they are.
enum class GgufScale {
  kNone,
  kFirstHalf,   // the f16 that a block begins with
  kHalfE8m0,    // 2^(first byte - 128)
};

struct GgufType {
  uint32_t id;
  std::string_view name;
  int64_t block_elements;
  int64_t block_bytes;
  void (*dequantise)(const std::byte* block, float* out);  // nullptr: known by name only
  GgufScale scale = GgufScale::kNone;
  bool fits_four_bits = false;  // the integers lie in -8..7, else in -128..127
};

constexpr int64_t kMaxGgufBlock = 256;

/// nullptr for an id that is not in the table.
const GgufType* findGgufType(uint32_t id);

std::span<const GgufType> ggufTypes();

}  // namespace exo
