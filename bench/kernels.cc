// Kernel speeds beside their roofs, measured in the same run: decode (one row against > 1 GiB of weights) beside the read
// bandwidth, prefill (512 rows) beside the int8 dot-product peak or the f32 FMA peak. Prints min/median/max of repeats.
// Usage: bench_kernels [threads] [isa]
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "bench/machine.h"
#include "bench/team.h"
#include "codegen/kernel.h"
#include "codegen/layout.h"

namespace exo::codegen {
namespace {

using bench::now;
using bench::Region;
using bench::Team;
using program::Encoding;
using program::Kernel;

constexpr int kRepeats = 7;
constexpr int64_t kStreamBytes = int64_t{1200} << 20;

struct Rate {
  double low, median, high;
};
/// work() does `amount`; the rate is amount per second.
Rate measure(double amount, const std::function<void()>& work) {
  work();
  std::vector<double> rates;
  for (int i = 0; i < kRepeats; ++i) {
    const double start = now();
    work();
    rates.push_back(amount / (now() - start));
  }
  std::sort(rates.begin(), rates.end());
  return {rates.front(), rates[kRepeats / 2], rates.back()};
}

// ---- roofs

__attribute__((target("avx512f"))) uint64_t read512(const unsigned char* from, int64_t bytes) {
  const int64_t quarter = bytes / 4 / 256 * 256;
  __m512i a[4] = {};
  for (int64_t at = 0; at < quarter; at += 64) {
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      _mm_prefetch(reinterpret_cast<const char*>(from + s * quarter + at + 2048), _MM_HINT_T0);
      a[s] = _mm512_xor_si512(a[s], _mm512_load_si512(from + s * quarter + at));
    }
  }
  // Stored and summed by hand: GCC 12 warns inside its own reduce intrinsics.
  alignas(64) uint64_t words[8];
  _mm512_store_si512(words, _mm512_or_si512(_mm512_or_si512(a[0], a[1]), _mm512_or_si512(a[2], a[3])));
  return words[0] ^ words[7];
}

uint64_t readPlain(const unsigned char* from, int64_t bytes) {
  uint64_t sum[8] = {};
  for (int64_t at = 0; at + 64 <= bytes; at += 64) {
    for (int w = 0; w < 8; ++w) {
      uint64_t word;
      std::memcpy(&word, from + at + 8 * w, 8);
      sum[w] ^= word;
    }
  }
  return sum[0] | sum[1] | sum[2] | sum[3] | sum[4] | sum[5] | sum[6] | sum[7];
}

constexpr int64_t kPeakRounds = 4'000'000;

__attribute__((target("avx512f,avx512vnni"))) int dotPeak() {
  __m512i a[16], x = _mm512_set1_epi32(0x01020304);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_set1_epi32(i);
  for (int64_t round = 0; round < kPeakRounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) a[i] = _mm512_dpbusd_epi32(a[i], x, x);
    __asm__ volatile("" : "+v"(x));
  }
#pragma GCC unroll 16
  for (int i = 1; i < 16; ++i) a[0] = _mm512_add_epi32(a[0], a[i]);
  alignas(64) int words[16];
  _mm512_store_si512(words, a[0]);
  return words[0];
}

__attribute__((target("avx512f"))) float fmaPeak() {
  __m512 a[16], x = _mm512_set1_ps(0.5f);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < kPeakRounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) a[i] = _mm512_fmadd_ps(a[i], x, x);
    __asm__ volatile("" : "+v"(x));
  }
#pragma GCC unroll 16
  for (int i = 1; i < 16; ++i) a[0] = _mm512_add_ps(a[0], a[i]);
  alignas(64) float words[16];
  _mm512_store_ps(words, a[0]);
  return words[0];
}

std::atomic<uint64_t> sink;

double readRoof(Team& team, Region& region) {
  const int64_t share = kStreamBytes / team.size() / 4096 * 4096;
  const bool wide = __builtin_cpu_supports("avx512f");
  const Rate rate = measure(static_cast<double>(share) * team.size() / 1e9, [&] {
    team.run([&](int t) { sink += wide ? read512(region.data() + t * share, share) : readPlain(region.data() + t * share, share); });
  });
  std::printf("read roof        %6.1f %6.1f %6.1f GB/s\n", rate.low, rate.median, rate.high);
  return rate.median;
}

double computeRoof(Team& team, const char* what, double operations, const std::function<double()>& work) {
  const Rate rate = measure(operations * kPeakRounds * 16 * team.size() / 1e9, [&] {
    team.run([&](int) { sink += static_cast<uint64_t>(work()); });
  });
  std::printf("%s roof %6.0f %6.0f %6.0f GOP/s\n", what, rate.low, rate.median, rate.high);
  return rate.median;
}

// ---- kernels

struct Bench {
  Team& team;
  Jit& jit;
  Region& region;
  double read_roof, dot_roof, fma_roof;
};

Kernel matmul(Encoding encoding, int64_t n, int64_t k) {
  Kernel kernel;
  kernel.set_op(Kernel::MATMUL);
  kernel.set_weight(encoding);
  kernel.set_input(encoding == program::Q4 || encoding == program::Q8 ? program::X8 : program::F32);
  kernel.set_n(n);
  kernel.set_k(k);
  return kernel;
}

CompiledKernel compile(Jit& jit, const Kernel& kernel) {
  const Kernel* one[] = {&kernel};
  auto compiled = jit.compile(one);
  EXO_CHECK(compiled.ok()) << compiled.error();
  return compiled->at(0);
}

/// One packed copy of pseudo-random weights, repeated over the region.
int64_t fillWeights(Region& region, const Kernel& kernel) {
  const int64_t bytes = packedBytes(kernel.weight(), kernel.n(), kernel.k());
  uint32_t state = 1;
  const auto row = [&](int64_t, std::span<float> out) {
    for (float& value : out) value = static_cast<float>(static_cast<int32_t>(state = state * 1664525u + 1013904223u)) * 1e-10f;
    return Status();
  };
  const auto packed = packPanels(kernel.weight(), kernel.n(), kernel.k(), row, {reinterpret_cast<std::byte*>(region.data()), static_cast<size_t>(bytes)});
  EXO_CHECK(packed.ok()) << packed.error();
  for (int64_t copy = 1; (copy + 1) * bytes <= kStreamBytes; ++copy) std::memcpy(region.data() + copy * bytes, region.data(), bytes);
  return bytes;
}

std::vector<unsigned char> activations(const Bench& bench, const Kernel& kernel, int64_t rows) {
  std::vector<float> x(rows * kernel.k());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761u % 1000) / 500 - 1;
  std::vector<unsigned char> out(rows * activationRowBytes(kernel.input(), kernel.k()) + 64);
  if (kernel.input() == program::F32) {
    std::memcpy(out.data(), x.data(), x.size() * 4);
    return out;
  }
  Kernel quantize;
  quantize.set_op(Kernel::QUANTIZE);
  quantize.set_k(kernel.k());
  KernelArgs args{.rows = rows, .in = {x.data()}, .out = {out.data()}};
  compile(bench.jit, quantize).function(&args, 0, rows, nullptr);
  return out;
}

void runShared(const Bench& bench, const CompiledKernel& compiled, const KernelArgs& args, int64_t units, std::vector<std::vector<unsigned char>>& scratch) {
  bench.team.run([&](int t) {
    const int64_t size = bench.team.size();
    auto* place = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(scratch[t].data()) + 63) & ~uintptr_t{63});
    compiled.function(&args, units * t / size, units * (t + 1) / size, place);
  });
}

const char* shortName(const Kernel& kernel) { return program::Encoding_Name(kernel.weight()).c_str(); }

void decode(const Bench& bench, const Kernel& kernel) {
  const int64_t bytes = fillWeights(bench.region, kernel), copies = kStreamBytes / bytes;
  const auto x = activations(bench, kernel, 1);
  std::vector<float> y(kernel.n());
  const CompiledKernel compiled = compile(bench.jit, kernel);
  std::vector<std::vector<unsigned char>> scratch(bench.team.size(), std::vector<unsigned char>(compiled.scratch_bytes + 64));
  const Rate rate = measure(static_cast<double>(bytes * copies) / 1e9, [&] {
    for (int64_t copy = 0; copy < copies; ++copy) {
      KernelArgs args{.rows = 1, .in = {x.data(), bench.region.data() + copy * bytes}, .out = {y.data()}};
      runShared(bench, compiled, args, workUnits(kernel, 1), scratch);
    }
  });
  std::printf("decode  %-4s N %5ld K %5ld   %6.1f %6.1f %6.1f GB/s   %3.0f %% of read\n", shortName(kernel), static_cast<long>(kernel.n()),
              static_cast<long>(kernel.k()), rate.low, rate.median, rate.high, 100 * rate.median / bench.read_roof);
}

void prefill(const Bench& bench, const Kernel& kernel, int64_t rows) {
  fillWeights(bench.region, kernel);
  const auto x = activations(bench, kernel, rows);
  std::vector<float> y(rows * kernel.n());
  const CompiledKernel compiled = compile(bench.jit, kernel);
  std::vector<std::vector<unsigned char>> scratch(bench.team.size(), std::vector<unsigned char>(compiled.scratch_bytes + 64));
  const KernelArgs args{.rows = rows, .in = {x.data(), bench.region.data()}, .out = {y.data()}};
  const double operations = 2.0 * static_cast<double>(rows) * static_cast<double>(kernel.n()) * static_cast<double>(kernel.k());
  const Rate rate = measure(operations / 1e9, [&] { runShared(bench, compiled, args, workUnits(kernel, rows), scratch); });
  const double roof = kernel.input() == program::X8 ? bench.dot_roof : bench.fma_roof;
  std::printf("M %4ld  %-4s N %5ld K %5ld   %6.0f %6.0f %6.0f GOP/s  %3.0f %% of peak\n", static_cast<long>(rows), shortName(kernel),
              static_cast<long>(kernel.n()), static_cast<long>(kernel.k()), rate.low, rate.median, rate.high, 100 * rate.median / roof);
}

int run(int threads, Isa isa) {
  auto jit = Jit::create({isa, ""});
  if (!jit.ok()) {
    std::cerr << jit.error() << "\n";
    return 1;
  }
  Team team(threads);
  Region region(kStreamBytes + (64 << 20));
  std::memset(region.data(), 1, kStreamBytes);
  std::printf("%s, %d threads; min / median / max of %d\n", name((*jit)->isa()), threads, kRepeats);
  Bench bench{team, **jit, region, readRoof(team, region), NAN, NAN};
  if (__builtin_cpu_supports("avx512vnni")) bench.dot_roof = computeRoof(team, "int8 dot", 128, dotPeak);
  if (__builtin_cpu_supports("avx512f")) bench.fma_roof = computeRoof(team, "f32 fma ", 32, fmaPeak);
  for (Encoding encoding : {program::Q4, program::Q8, program::F32}) {
    for (auto [n, k] : {std::pair{8192, 2048}, {2048, 8192}}) {
      decode(bench, matmul(encoding, n, k));
      for (int64_t rows : {2, 8, 64, 512}) prefill(bench, matmul(encoding, n, k), rows);
    }
  }
  return 0;
}

}  // namespace
}  // namespace exo::codegen

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::clamp(std::atoi(argv[1]), 1, 1024) : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const auto isa = exo::codegen::parseIsa(argc > 2 ? argv[2] : "auto");
  if (!isa.ok()) {
    std::cerr << isa.error() << "\n";
    return 2;
  }
  exo::bench::printMachine();
  return exo::codegen::run(threads, *isa);
}
