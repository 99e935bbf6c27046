// What a thread does between two looks at a word that another thread is about to change.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exo::runtime {

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace exo::runtime
