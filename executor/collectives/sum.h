// Sums in a fixed order, accumulated in f32: the same bits wherever and whenever.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include "executor/collectives/bf16.h"

namespace exo::collectives {

inline float widened(float value) { return value; }
inline float widened(Bf16 value) { return toFloat(value); }
template <class T>
T narrowed(float value) {
  if constexpr (std::is_same_v<T, Bf16>)
    return toBf16(value);
  else
    return value;
}

/// Terms are arrays of T: out[i] = ((terms[0][i] + terms[1][i]) + ...), rounded once to T, in blocks: `out` may be one of the two or more terms.
template <class T>
void sumInOrder(std::span<const void* const> terms, T* out, size_t count) {
  constexpr size_t kBlock = 512;
  float sum[kBlock];
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t size = std::min(kBlock, count - begin);
    const T* first = static_cast<const T*>(terms[0]) + begin;
    const T* second = static_cast<const T*>(terms[1]) + begin;
    for (size_t i = 0; i < size; ++i) sum[i] = widened(first[i]) + widened(second[i]);
    for (const void* rest : terms.subspan(2)) {
      const T* term = static_cast<const T*>(rest) + begin;
      for (size_t i = 0; i < size; ++i) sum[i] += widened(term[i]);
    }
    for (size_t i = 0; i < size; ++i) out[begin + i] = narrowed<T>(sum[i]);
  }
}

}  // namespace exo::collectives
