#include "executor/cluster/measure_kernels.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exo::cluster {
namespace {

constexpr size_t kStreams = 4;
constexpr size_t kPrefetchBytes = 2048;  // ahead of the load: hardware prefetchers stop at page borders

#if defined(__x86_64__)

__attribute__((target("avx512f"))) uint64_t readAvx512(const std::byte* data, size_t bytes) {
  const size_t part = bytes / kStreams;
  __m512i sums[kStreams] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (size_t offset = 0; offset < part; offset += 128) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const std::byte* at = data + stream * part + offset;
      _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetchBytes), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetchBytes + 64), _MM_HINT_T0);
      sums[stream] = _mm512_add_epi64(sums[stream], _mm512_load_si512(at));
      sums[stream] = _mm512_add_epi64(sums[stream], _mm512_load_si512(at + 64));
    }
  }
  const __m512i sum = _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]));
  alignas(64) uint64_t lanes[8];
  _mm512_store_si512(lanes, sum);
  uint64_t total = 0;
  for (const uint64_t lane : lanes) total += lane;
  return total;
}

__attribute__((target("avx2"))) uint64_t readAvx2(const std::byte* data, size_t bytes) {
  const size_t part = bytes / kStreams;
  __m256i sums[kStreams] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  for (size_t offset = 0; offset < part; offset += 64) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const std::byte* at = data + stream * part + offset;
      _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetchBytes), _MM_HINT_T0);
      sums[stream] = _mm256_add_epi64(sums[stream], _mm256_load_si256(reinterpret_cast<const __m256i*>(at)));
      sums[stream] = _mm256_add_epi64(sums[stream], _mm256_load_si256(reinterpret_cast<const __m256i*>(at + 32)));
    }
  }
  const __m256i sum = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

// Twelve accumulators in all loops below: latency 4-5 times two units, with registers to spare. The empty asm keeps each
// accumulator in a register of its own and the compiler from folding equal ones.
constexpr int kAccumulators = 12;

#define EXO_MEASURE_LOOP(name, features, vector, zero, operand_a, operand_b, update, store)           \
  __attribute__((target(features))) void name(int64_t iterations, void* result) {                     \
    vector sums[kAccumulators];                                                                       \
    for (vector& sum : sums) sum = zero;                                                              \
    vector a = operand_a, b = operand_b;                                                              \
    for (int64_t i = 0; i < iterations; ++i) {                                                        \
      asm volatile("" : "+x"(a), "+x"(b));                                                            \
      _Pragma("GCC unroll 12") for (int k = 0; k < kAccumulators; ++k) {                              \
        sums[k] = update;                                                                             \
        asm volatile("" : "+x"(sums[k]));                                                             \
      }                                                                                               \
    }                                                                                                 \
    vector sum = sums[0];                                                                             \
    for (int k = 1; k < kAccumulators; ++k) sum = sum + sums[k];                                      \
    store;                                                                                            \
  }

// "v" would allow the upper sixteen registers of AVX-512; twelve accumulators and two operands do not need them.
EXO_MEASURE_LOOP(int8Avx512Vnni, "avx512f,avx512bw,avx512vl,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_set1_epi8(3),
                 _mm512_set1_epi8(-2), _mm512_dpbusd_epi32(sums[k], a, b), _mm512_storeu_si512(result, sum))
EXO_MEASURE_LOOP(int8AvxVnni, "avx2,avxvnni", __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(3), _mm256_set1_epi8(-2),
                 _mm256_dpbusd_avx_epi32(sums[k], a, b), _mm256_storeu_si256(static_cast<__m256i*>(result), sum))
EXO_MEASURE_LOOP(int8Avx2, "avx2", __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(3), _mm256_set1_epi8(-2),
                 _mm256_add_epi32(sums[k], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))),
                 _mm256_storeu_si256(static_cast<__m256i*>(result), sum))
EXO_MEASURE_LOOP(f32Avx512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f),
                 _mm512_fmadd_ps(a, b, sums[k]), _mm512_storeu_ps(result, sum))
EXO_MEASURE_LOOP(f32Fma, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(0.5f), _mm256_set1_ps(0.25f),
                 _mm256_fmadd_ps(a, b, sums[k]), _mm256_storeu_ps(static_cast<float*>(result), sum))
#undef EXO_MEASURE_LOOP

#endif

/// Sixteen lanes of plain C++: whatever the compiler's baseline makes of it.
constexpr int kPlainLanes = 16;

uint64_t readPlain(const std::byte* data, size_t bytes) {
  const size_t part = bytes / kStreams;
  uint64_t sums[kStreams] = {};
  for (size_t offset = 0; offset < part; offset += sizeof(uint64_t)) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      uint64_t word;
      std::memcpy(&word, data + stream * part + offset, sizeof word);
      sums[stream] += word;
    }
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

void int8Plain(int64_t iterations, void* result) {
  std::array<int32_t, kPlainLanes> sums{};
  std::array<int8_t, 4 * kPlainLanes> a, b;
  a.fill(3);
  b.fill(-2);
  for (int64_t i = 0; i < iterations; ++i) {
    asm volatile("" : : "r"(a.data()), "r"(b.data()) : "memory");
    for (int lane = 0; lane < kPlainLanes; ++lane) {
      for (int k = 0; k < 4; ++k) {
        sums[lane] = static_cast<int32_t>(static_cast<uint32_t>(sums[lane]) + static_cast<uint32_t>(a[4 * lane + k] * b[4 * lane + k]));
      }
    }
  }
  std::memcpy(result, sums.data(), sizeof sums);
}

void f32Plain(int64_t iterations, void* result) {
  std::array<float, kPlainLanes> sums{}, a, b;
  a.fill(0.5f);
  b.fill(0.25f);
  for (int64_t i = 0; i < iterations; ++i) {
    asm volatile("" : : "r"(a.data()), "r"(b.data()) : "memory");
    for (int lane = 0; lane < kPlainLanes; ++lane) sums[lane] += a[lane] * b[lane];
  }
  std::memcpy(result, sums.data(), sizeof sums);
}

}  // namespace

uint64_t readOnce(const std::byte* data, size_t bytes) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return readAvx512(data, bytes);
  if (__builtin_cpu_supports("avx2")) return readAvx2(data, bytes);
#endif
  return readPlain(data, bytes);
}

ArithmeticLoop int8Loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return {int8Avx512Vnni, 2.0 * 64 * kAccumulators, "avx512vnni"};
  }
  if (__builtin_cpu_supports("avxvnni")) return {int8AvxVnni, 2.0 * 32 * kAccumulators, "avxvnni"};
  if (__builtin_cpu_supports("avx2")) return {int8Avx2, 2.0 * 32 * kAccumulators, "avx2"};
#endif
  return {int8Plain, 2.0 * 4 * kPlainLanes, "plain"};
}

ArithmeticLoop f32Loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {f32Avx512, 2.0 * 16 * kAccumulators, "avx512"};
  if (__builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2")) return {f32Fma, 2.0 * 8 * kAccumulators, "avx2"};
#endif
  return {f32Plain, 2.0 * kPlainLanes, "plain"};
}

}  // namespace exo::cluster
