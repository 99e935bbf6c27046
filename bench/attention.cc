// Attention alone, beside the roofs of the same moment: decode of one token per sequence against > 1 GB of KV cache beside the read
// bandwidth, by query heads per KV head; prefill beside the FMA peak. A roof and the kernel take short turns, so that work of others
// falls on both, and one thread is timed by what it used of its core. `split`: one KV head, whose positions are divided over the threads.
// Usage: bench_attention [threads] [isa]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iostream>
#include <numeric>

#include "bench/machine.h"
#include "bench/team.h"
#include "codegen/kernel.h"
#include "codegen/layout.h"
#include "executor/cluster/measure_kernels.h"

namespace exo::codegen {
namespace {

using bench::Region;
using bench::Team;
using program::Kernel;

constexpr int kRepeats = 41;
constexpr int64_t kStreamBytes = int64_t{1} << 30;
constexpr int64_t kTurnBytes = int64_t{64} << 20;  // of a decode turn: beyond the caches, and short against a scheduler's turns

struct Shape {
  int64_t head_dim, kv_heads, group, context;
  int64_t rows = 1;
  bool split = false;
};

/// The cache is filled once; every layer of `copies` is a part of it with pages of its own.
struct Layers {
  int64_t pages_each, copies;
  std::vector<std::vector<int32_t>> tables;
};

class AttentionBench {
 public:
  AttentionBench(Team& team, Jit& jit, Region& region) : team_(team), jit_(jit), region_(region) {}
  void decode(const Shape& shape);
  void prefill(const Shape& shape);

 private:
  struct Turns {
    std::vector<double> roof, kernel;  // rates, ascending
  };
  Turns takeTurns(double roof_amount, const std::function<void()>& roof, double amount, const std::function<void()>& work);
  double seconds() const;
  void read();
  void prepare(const Shape& shape);
  void layer(int64_t copy);

  Team& team_;
  Jit& jit_;
  Region& region_;
  std::atomic<uint64_t> sink_{0};
  int64_t read_at_ = 0, next_copy_ = 0;
  Kernel kernel_;
  CompiledKernel compiled_;
  StepView view_;
  Layers layers_;
  std::vector<int32_t> positions_, sequence_, starts_, arrived_;
  std::vector<float> q_, out_;
  std::vector<std::vector<unsigned char>> scratch_;
  std::vector<unsigned char> partials_;
};

unsigned char* aligned(std::vector<unsigned char>& bytes) { return bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64; }

double AttentionBench::seconds() const {
  timespec time;
  clock_gettime(team_.size() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

AttentionBench::Turns AttentionBench::takeTurns(double roof_amount, const std::function<void()>& roof, double amount,
                                                const std::function<void()>& work) {
  Turns turns;
  roof(), work();
  for (int i = 0; i < kRepeats; ++i) {
    for (const bool is_roof : {true, false}) {
      const double start = seconds();
      is_roof ? roof() : work();
      (is_roof ? turns.roof : turns.kernel).push_back((is_roof ? roof_amount : amount) / (seconds() - start) / 1e9);
    }
  }
  std::sort(turns.roof.begin(), turns.roof.end());
  std::sort(turns.kernel.begin(), turns.kernel.end());
  return turns;
}

/// Reads kTurnBytes; another part of the region every time.
void AttentionBench::read() {
  constexpr int64_t kPiece = int64_t{1} << 20;
  read_at_ = (read_at_ + kTurnBytes) % kStreamBytes;
  std::atomic<int64_t> next{0};
  team_.run([&](int) {
    for (int64_t at = kPiece * next++; at < kTurnBytes; at = kPiece * next++) {
      sink_ += cluster::readOnce(reinterpret_cast<const std::byte*>(region_.data() + read_at_ + at), kPiece);
    }
  });
}

void AttentionBench::prepare(const Shape& shape) {
  kernel_.Clear();
  kernel_.set_op(Kernel::ATTENTION);
  kernel_.set_heads(shape.kv_heads * shape.group);
  kernel_.set_kv_heads(shape.kv_heads);
  kernel_.set_group(shape.group);
  kernel_.set_head_dim(shape.head_dim);
  kernel_.set_cache(program::F16);
  kernel_.set_scale(1 / std::sqrt(static_cast<float>(shape.head_dim)));
  const Kernel* one[] = {&kernel_};
  auto compiled = jit_.compile(one);
  EXO_CHECK(compiled.ok()) << compiled.error();
  compiled_ = compiled->at(0);
  scratch_.assign(team_.size(), std::vector<unsigned char>(compiled_.scratch_bytes + 64));
  const int64_t page = cacheBytes(program::F16, 1, shape.kv_heads, shape.head_dim, shape.head_dim);
  layers_.pages_each = (shape.context + kPageTokens - 1) / kPageTokens;
  layers_.copies = kStreamBytes / (page * layers_.pages_each);
  layers_.tables.assign(layers_.copies, std::vector<int32_t>(layers_.pages_each));
  for (int64_t copy = 0; copy < layers_.copies; ++copy) std::iota(layers_.tables[copy].begin(), layers_.tables[copy].end(), static_cast<int32_t>(copy * layers_.pages_each));
  positions_.resize(shape.rows);
  std::iota(positions_.begin(), positions_.end(), static_cast<int32_t>(shape.context - shape.rows));
  sequence_.assign(shape.rows, 0);
  starts_ = {0, static_cast<int32_t>(shape.rows)};
  q_.assign(shape.rows * shape.kv_heads * shape.group * shape.head_dim, 0.25f);
  out_.assign(q_.size(), 0);
  view_ = {.tokens = shape.rows, .sequences = 1, .positions = positions_.data(), .sequence = sequence_.data(), .page_table = nullptr,
           .page_table_stride = layers_.pages_each, .sequence_begin = starts_.data()};
  if (!shape.split) return;
  view_.split.chunks = (shape.context + kAttentionChunk - 1) / kAttentionChunk;
  partials_.resize(attentionPartialsBytes(kernel_, shape.rows, view_.split.chunks) + 64);
  arrived_.assign(shape.rows * shape.kv_heads, 0);
  view_.split.partials = aligned(partials_);
  view_.split.arrived = arrived_.data();
}

void AttentionBench::layer(int64_t copy) {
  view_.page_table = layers_.tables[copy].data();
  const KernelArgs args{.rows = view_.tokens, .in = {q_.data(), region_.data()}, .out = {out_.data()}, .step = &view_};
  const int64_t units = workUnits(kernel_, view_.tokens, view_.split.chunks);
  team_.run([&](int t) { compiled_.function(&args, units * t / team_.size(), units * (t + 1) / team_.size(), aligned(scratch_[t])); });
}

void AttentionBench::decode(const Shape& shape) {
  prepare(shape);
  const int64_t bytes = cacheBytes(program::F16, layers_.pages_each, shape.kv_heads, shape.head_dim, shape.head_dim);
  const int64_t layers = kTurnBytes / bytes;
  const Turns turns = takeTurns(kTurnBytes, [&] { read(); }, static_cast<double>(bytes * layers), [&] {
    for (int64_t k = 0; k < layers; ++k) layer(next_copy_ = (next_copy_ + 1) % layers_.copies);
  });
  const double flops = static_cast<double>(shape.group) * turns.kernel[kRepeats / 2];
  std::printf("decode  hd %3ld kv %ld group %ld %s  %5.1f %5.1f %5.1f GB/s  read %5.1f %5.1f %5.1f   %3.0f %% (best %3.0f %%)  %4.0f GFLOP/s\n",
              static_cast<long>(shape.head_dim), static_cast<long>(shape.kv_heads), static_cast<long>(shape.group), shape.split ? "split" : "     ",
              turns.kernel.front(), turns.kernel[kRepeats / 2], turns.kernel.back(), turns.roof.front(), turns.roof[kRepeats / 2], turns.roof.back(),
              100 * turns.kernel[kRepeats / 2] / turns.roof[kRepeats / 2], 100 * turns.kernel.back() / turns.roof.back(), flops);
  std::fflush(stdout);
}

void AttentionBench::prefill(const Shape& shape) {
  prepare(shape);
  double operations = 0;
  for (const int32_t position : positions_) operations += 4.0 * (position + 1) * static_cast<double>(shape.head_dim * shape.kv_heads * shape.group);
  const cluster::ArithmeticLoop peak = cluster::f32Loop();
  constexpr int64_t kIterations = 1'000'000;
  const Turns turns = takeTurns(peak.operations_per_iteration * kIterations * team_.size(), [&] {
    team_.run([&](int) {
      alignas(64) unsigned char result[64];
      peak.run(kIterations, result);
      sink_ += result[0];
    });
  }, operations, [&] { layer(0); });
  std::printf("prefill hd %3ld kv %ld group %ld %ld rows  %5.0f %5.0f %5.0f GFLOP/s  fma %5.0f %5.0f %5.0f   %3.0f %% (best %3.0f %%)\n",
              static_cast<long>(shape.head_dim), static_cast<long>(shape.kv_heads), static_cast<long>(shape.group), static_cast<long>(shape.rows),
              turns.kernel.front(), turns.kernel[kRepeats / 2], turns.kernel.back(), turns.roof.front(), turns.roof[kRepeats / 2], turns.roof.back(),
              100 * turns.kernel[kRepeats / 2] / turns.roof[kRepeats / 2], 100 * turns.kernel.back() / turns.roof.back());
  std::fflush(stdout);
}

int run(int threads, Isa isa) {
  auto jit = Jit::create({isa, ""});
  if (!jit.ok()) {
    std::cerr << jit.error() << "\n";
    return 1;
  }
  Team team(threads);
  Region region(kStreamBytes);
  // 0x01 bytes: small f16 numbers, all alike, so that every position matters.
  team.run([&](int t) { std::memset(region.data() + kStreamBytes / team.size() * t, 1, kStreamBytes / team.size()); });
  std::printf("%s, %d threads, context 8192, f16 cache; min / median / max of %d\n", name((*jit)->isa()), threads, kRepeats);
  AttentionBench bench(team, **jit, region);
  for (const int64_t head_dim : {64, 128}) {
    for (const int64_t group : {1, 2, 4, 8}) bench.decode({head_dim, 8, group, 8192});
    for (const int64_t group : {1, 8}) bench.decode({head_dim, 1, group, 8192, 1, true});
    for (const int64_t group : {1, 4}) bench.prefill({head_dim, 1, group, 4096, 128});
  }
  return 0;
}

}  // namespace
}  // namespace exo::codegen

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::clamp(std::atoi(argv[1]), 1, 1024) : exo::bench::allowedCores();
  const auto isa = exo::codegen::parseIsa(argc > 2 ? argv[2] : "auto");
  if (!isa.ok()) {
    std::cerr << isa.error() << "\n";
    return 2;
  }
  exo::bench::printMachine();
  return exo::codegen::run(threads, *isa);
}
