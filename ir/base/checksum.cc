#include "ir/base/checksum.h"

#include <bit>
#include <cstring>

namespace exo {
namespace {

constexpr uint64_t kOdd = 0x9e3779b97f4a7c15u;      // 2^64 / golden ratio
constexpr uint64_t kOddWord = 0xd6e8feb86659fd93u;  // any other with as many ones as zeros
constexpr size_t kLanes = 8;                    // a multiplication takes three or four cycles: so many are in flight

/// A multiplication spreads low bits upwards, the rotation takes high ones to where the next does. The word gets one of its
/// own: without it, one flipped bit of a word and one of the next in the same lane could cancel.
uint64_t step(uint64_t lane, uint64_t word) { return std::rotl(lane + word * kOddWord, 31) * kOdd; }

}  // namespace

uint64_t checksum(std::span<const std::byte> bytes) {
  uint64_t lanes[kLanes], words[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = kOdd + i;
  size_t at = 0;
  for (; at + sizeof words <= bytes.size(); at += sizeof words) {
    std::memcpy(words, bytes.data() + at, sizeof words);
#pragma GCC unroll 8
    for (size_t i = 0; i < kLanes; ++i) lanes[i] = step(lanes[i], words[i]);  // unrolled, the lanes stay in registers
  }
  std::memset(words, 0, sizeof words);
  if (at < bytes.size()) std::memcpy(words, bytes.data() + at, bytes.size() - at);
  uint64_t result = bytes.size();
  for (size_t i = 0; i < kLanes; ++i) result = step(result, step(lanes[i], words[i]));
  return step(result, 0);
}

}  // namespace exo
