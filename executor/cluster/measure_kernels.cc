#include "executor/cluster/measure_kernels.h"

#include <array>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exo::cluster {
namespace {

constexpr size_t kStreams = 4;
constexpr size_t kPrefetchBytes = 2048;  // ahead of the load: hardware prefetchers stop at page borders

#if defined(__x86_64__)

// One variable per stream: GCC would keep an array of sums in memory.
__attribute__((target("avx512f"))) uint64_t readAvx512(const std::byte* data, size_t bytes) {
  const size_t part = bytes / kStreams;
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
  const auto take = [&](__m512i sum, const std::byte* at) __attribute__((target("avx512f"), always_inline)) {
    _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetchBytes), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetchBytes + 64), _MM_HINT_T0);
    return _mm512_add_epi64(_mm512_add_epi64(sum, _mm512_load_si512(at)), _mm512_load_si512(at + 64));
  };
  for (size_t offset = 0; offset < part; offset += 128) {
    s0 = take(s0, data + offset);
    s1 = take(s1, data + part + offset);
    s2 = take(s2, data + 2 * part + offset);
    s3 = take(s3, data + 3 * part + offset);
  }
  alignas(64) uint64_t lanes[8];
  _mm512_store_si512(lanes, _mm512_add_epi64(_mm512_add_epi64(s0, s1), _mm512_add_epi64(s2, s3)));
  uint64_t total = 0;
  for (const uint64_t lane : lanes) total += lane;
  return total;
}

__attribute__((target("avx2"))) uint64_t readAvx2(const std::byte* data, size_t bytes) {
  const size_t part = bytes / kStreams;
  __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
  const auto take = [&](__m256i sum, const std::byte* at) __attribute__((target("avx2"), always_inline)) {
    _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetchBytes), _MM_HINT_T0);
    sum = _mm256_add_epi64(sum, _mm256_load_si256(reinterpret_cast<const __m256i*>(at)));
    return _mm256_add_epi64(sum, _mm256_load_si256(reinterpret_cast<const __m256i*>(at + 32)));
  };
  for (size_t offset = 0; offset < part; offset += 64) {
    s0 = take(s0, data + offset);
    s1 = take(s1, data + part + offset);
    s2 = take(s2, data + 2 * part + offset);
    s3 = take(s3, data + 3 * part + offset);
  }
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi64(_mm256_add_epi64(s0, s1), _mm256_add_epi64(s2, s3)));
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

// Twelve accumulators in all loops below: latency 4-5 times two units, with registers to spare. They are variables, not an
// array, which GCC would keep in memory; the empty asm stops it from folding equal ones.
constexpr int kAccumulators = 12;

#define EXO_TWELVE(each) each(s0) each(s1) each(s2) each(s3) each(s4) each(s5) each(s6) each(s7) each(s8) each(s9) each(s10) each(s11)
#define EXO_MEASURE_LOOP(name, features, vector, zero, operand_a, operand_b, step, store)                        \
  __attribute__((target(features))) void name(int64_t iterations, void* result) {                                \
    vector s0 = zero, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0, s9 = s0, s10 = s0, s11 = s0; \
    vector a = operand_a, b = operand_b;                                                                         \
    for (int64_t i = 0; i < iterations; ++i) {                                                                   \
      asm volatile("" : "+x"(a), "+x"(b));                                                                       \
      EXO_TWELVE(step)                                                                                           \
    }                                                                                                            \
    const vector sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;                              \
    store;                                                                                                       \
  }

#define EXO_STEP(s, expression) \
  s = expression;               \
  asm volatile("" : "+x"(s));
#define EXO_VNNI512(s) EXO_STEP(s, _mm512_dpbusd_epi32(s, a, b))
#define EXO_VNNI256(s) EXO_STEP(s, _mm256_dpbusd_avx_epi32(s, a, b))
#define EXO_MADDUBS(s) EXO_STEP(s, _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))))
#define EXO_FMA512(s) EXO_STEP(s, _mm512_fmadd_ps(a, b, s))
#define EXO_FMA256(s) EXO_STEP(s, _mm256_fmadd_ps(a, b, s))

EXO_MEASURE_LOOP(int8Avx512Vnni, "avx512f,avx512bw,avx512vl,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_set1_epi8(3),
                 _mm512_set1_epi8(-2), EXO_VNNI512, _mm512_storeu_si512(result, sum))
EXO_MEASURE_LOOP(int8AvxVnni, "avx2,avxvnni", __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(3), _mm256_set1_epi8(-2),
                 EXO_VNNI256, _mm256_storeu_si256(static_cast<__m256i*>(result), sum))
EXO_MEASURE_LOOP(int8Avx2, "avx2", __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(3), _mm256_set1_epi8(-2), EXO_MADDUBS,
                 _mm256_storeu_si256(static_cast<__m256i*>(result), sum))
EXO_MEASURE_LOOP(f32Avx512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f), EXO_FMA512,
                 _mm512_storeu_ps(result, sum))
EXO_MEASURE_LOOP(f32Fma, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(0.5f), _mm256_set1_ps(0.25f), EXO_FMA256,
                 _mm256_storeu_ps(static_cast<float*>(result), sum))
#undef EXO_FMA256
#undef EXO_FMA512
#undef EXO_MADDUBS
#undef EXO_VNNI256
#undef EXO_VNNI512
#undef EXO_STEP
#undef EXO_MEASURE_LOOP
#undef EXO_TWELVE

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

ArithmeticLoop int8Loop(std::string_view method) {
  std::vector<ArithmeticLoop> available;  // best first
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    available.push_back({int8Avx512Vnni, 2.0 * 64 * kAccumulators, "avx512vnni"});
  }
  if (__builtin_cpu_supports("avxvnni")) available.push_back({int8AvxVnni, 2.0 * 32 * kAccumulators, "avxvnni"});
  if (__builtin_cpu_supports("avx2")) available.push_back({int8Avx2, 2.0 * 32 * kAccumulators, "avx2"});
#endif
  available.push_back({int8Plain, 2.0 * 4 * kPlainLanes, "plain"});
  for (const ArithmeticLoop& loop : available) {
    if (loop.method == method) return loop;
  }
  return available.front();
}

ArithmeticLoop f32Loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {f32Avx512, 2.0 * 16 * kAccumulators, "avx512"};
  if (__builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2")) return {f32Fma, 2.0 * 8 * kAccumulators, "avx2"};
#endif
  return {f32Plain, 2.0 * kPlainLanes, "plain"};
}

}  // namespace exo::cluster
