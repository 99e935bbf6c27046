// Kernel speeds beside their roofs, measured in the same run: decode (1 to 16 rows against > 1 GiB of weights) beside the read
// bandwidth, prefill (512 rows) beside the int8 dot-product peak of the instruction set or the f32 FMA peak. Prints
// min/median/max of repeats.
// Usage: bench_kernels [threads] [isa]
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
#include "executor/cluster/measure_kernels.h"

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

constexpr int64_t kReadPiece = 1 << 20;  // a multiple of what readOnce wants
std::atomic<uint64_t> sink;

double readRoof(Team& team, Region& region) {
  const int64_t share = kStreamBytes / team.size() / kReadPiece * kReadPiece;
  const Rate rate = measure(static_cast<double>(share) * team.size() / 1e9, [&] {
    team.run([&](int t) {
      const auto* from = reinterpret_cast<const std::byte*>(region.data() + t * share);
      for (int64_t at = 0; at < share; at += kReadPiece) sink += cluster::readOnce(from + at, kReadPiece);
    });
  });
  std::printf("read roof            %6.1f %6.1f %6.1f GB/s\n", rate.low, rate.median, rate.high);
  return rate.median;
}

double computeRoof(Team& team, const char* what, const cluster::ArithmeticLoop& loop) {
  constexpr int64_t kIterations = 4'000'000;
  const Rate rate = measure(loop.operations_per_iteration * kIterations * team.size() / 1e9, [&] {
    team.run([&](int) {
      alignas(64) unsigned char result[64];
      loop.run(kIterations, result);
      sink += result[0];
    });
  });
  std::printf("%s roof, %-10s %6.0f %6.0f %6.0f GOP/s\n", what, loop.method, rate.low, rate.median, rate.high);
  return rate.median;
}

/// The quickest sums of products of bytes that `isa` has.
cluster::ArithmeticLoop int8LoopOf(Isa isa) {
  switch (isa) {
    case Isa::kAvxVnni: return cluster::int8Loop("avxvnni");
    case Isa::kAvx2: return cluster::int8Loop("avx2");
    case Isa::kGeneric: return cluster::int8Loop("plain");
    default: return cluster::int8Loop();
  }
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

/// Seconds per call; `rows` sequences at once read the weights once.
double decode(const Bench& bench, const Kernel& kernel, int64_t rows, double one_row) {
  const int64_t bytes = fillWeights(bench.region, kernel), copies = kStreamBytes / bytes;
  const auto x = activations(bench, kernel, rows);
  std::vector<float> y(rows * kernel.n());
  const CompiledKernel compiled = compile(bench.jit, kernel);
  std::vector<std::vector<unsigned char>> scratch(bench.team.size(), std::vector<unsigned char>(compiled.scratch_bytes + 64));
  const Rate rate = measure(static_cast<double>(bytes * copies) / 1e9, [&] {
    for (int64_t copy = 0; copy < copies; ++copy) {
      KernelArgs args{.rows = rows, .in = {x.data(), bench.region.data() + copy * bytes}, .out = {y.data()}};
      runShared(bench, compiled, args, workUnits(kernel, rows), scratch);
    }
  });
  const double seconds = static_cast<double>(bytes) / 1e9 / rate.median;
  std::printf("M %4ld  %-4s N %5ld K %5ld   %6.1f %6.1f %6.1f GB/s   %3.0f %% of read, %.2f times the time of one row\n",
              static_cast<long>(rows), shortName(kernel), static_cast<long>(kernel.n()), static_cast<long>(kernel.k()), rate.low,
              rate.median, rate.high, 100 * rate.median / bench.read_roof, one_row > 0 ? seconds / one_row : 1.0);
  return seconds;
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
  const Bench bench{team, **jit, region, readRoof(team, region), computeRoof(team, "int8", int8LoopOf((*jit)->isa())),
                    computeRoof(team, "f32 ", cluster::f32Loop())};
  for (Encoding encoding : {program::Q4, program::Q8, program::F32, program::BF16}) {
    for (auto [n, k] : {std::pair{8192, 2048}, {2048, 8192}}) {
      const double one_row = decode(bench, matmul(encoding, n, k), 1, 0);
      for (int64_t rows : {2, 4, 8, 16}) decode(bench, matmul(encoding, n, k), rows, one_row);
      for (int64_t rows : {64, 512}) prefill(bench, matmul(encoding, n, k), rows);
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
