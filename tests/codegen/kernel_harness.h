// Runs single kernels in tests: a Jit per instruction set of this machine, an emulator for those of AArch64, aligned buffers with
// guard bytes, and units divided as asked.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "codegen/host_kernels.h"
#include "codegen/kernel.h"
#include "codegen/layout.h"
#include "emulator.h"

namespace exo::codegen {

/// 64-byte aligned bytes with a guard behind them that must survive every kernel.
class Memory {
 public:
  explicit Memory(int64_t bytes, unsigned char fill = 0xcd) : bytes_(bytes), storage_(emulator::allocate(bytes + kGuard)) {
    std::memset(data(), fill, bytes);
    std::memset(data() + bytes, kGuardByte, kGuard);
  }
  template <class T>
  static Memory of(const std::vector<T>& values) {
    Memory memory(static_cast<int64_t>(values.size() * sizeof(T)));
    std::memcpy(memory.data(), values.data(), values.size() * sizeof(T));
    return memory;
  }
  unsigned char* data() { return reinterpret_cast<unsigned char*>(storage_.get()); }
  const unsigned char* data() const { return const_cast<Memory*>(this)->data(); }
  Memory(const Memory&) = delete;
  Memory(Memory&&) = default;
  Memory& operator=(Memory&&) = default;
  int64_t bytes() const { return bytes_; }
  template <class T>
  std::vector<T> as() const {
    std::vector<T> values(bytes_ / sizeof(T));
    std::memcpy(values.data(), data(), values.size() * sizeof(T));
    return values;
  }
  bool guardIntact() const {
    return std::all_of(data() + bytes_, data() + bytes_ + kGuard, [](unsigned char c) { return c == kGuardByte; });
  }

 private:
  static constexpr int64_t kGuard = 256;
  static constexpr unsigned char kGuardByte = 0xa5;
  int64_t bytes_;
  struct Release {
    void operator()(std::byte* data) const { emulator::release(data); }
  };
  std::unique_ptr<std::byte, Release> storage_;
};

inline std::vector<Isa> hostIsas() {
  std::vector<Isa> isas;
  for (Isa isa : allIsas()) {
    if (Jit::create({isa, ""}).ok()) isas.push_back(isa);
  }
  return isas;
}

/// Those of the host and those that can be emulated.
inline std::vector<Isa> testedIsas() {
  std::vector<Isa> isas = hostIsas();
  for (Isa isa : allIsas()) {
    if (emulator::emulates(isa) && std::find(isas.begin(), isas.end(), isa) == isas.end()) isas.push_back(isa);
  }
  return isas;
}

inline Jit& jitFor(Isa isa) {
  static std::map<Isa, std::unique_ptr<Jit>> jits;
  auto& jit = jits[isa];
  if (!jit) jit = std::move(Jit::create({isa, ""})).value();
  return *jit;
}

inline CompiledKernel compileBy(Jit& jit, const program::Kernel& kernel) {
  const program::Kernel* one[] = {&kernel};
  auto compiled = jit.compile(one);
  EXO_CHECK(compiled.ok()) << compiled.error();
  return compiled->at(0);
}

inline CompiledKernel compileFor(Isa isa, const program::Kernel& kernel) { return compileBy(jitFor(isa), kernel); }

/// Kernels that are C++ functions are the same on every machine; only the host's can be called.
inline bool isHostKernel(const program::Kernel& kernel) {
  for (const HostKernel& host : hostKernels()) {
    if (host.op == kernel.op()) return true;
  }
  return false;
}

/// Runs all units by `call(begin, end, scratch)`, `chunk` at a time (0: all at once), each chunk with scratch of its own.
template <class Call>
void runUnits(const program::Kernel& kernel, const KernelArgs& args, size_t scratch_bytes, int64_t chunk, const Call& call) {
  const int64_t units = workUnits(kernel, args.rows, args.step ? args.step->split.chunks : 0);
  for (int64_t begin = 0; begin < units; begin += chunk ? chunk : units) {
    Memory scratch(static_cast<int64_t>(scratch_bytes));
    call(begin, chunk ? std::min(units, begin + chunk) : units, scratch.data());
    EXPECT_TRUE(scratch.guardIntact()) << "scratch overrun";
  }
}

inline void runKernel(Jit& jit, const program::Kernel& kernel, const KernelArgs& args, int64_t chunk = 0) {
  const CompiledKernel compiled = compileBy(jit, kernel);
  runUnits(kernel, args, compiled.scratch_bytes, chunk, [&](int64_t begin, int64_t end, void* scratch) { compiled.function(&args, begin, end, scratch); });
}

inline void runKernel(Isa isa, const program::Kernel& kernel, const KernelArgs& args, int64_t chunk = 0) {
  const bool emulated = emulator::emulates(isa);
  if (!emulated || isHostKernel(kernel)) return runKernel(jitFor(emulated ? Isa::kGeneric : isa), kernel, args, chunk);
  const size_t scratch_bytes = compileFor(Isa::kGeneric, kernel).scratch_bytes;
  runUnits(kernel, args, scratch_bytes, chunk, [&](int64_t begin, int64_t end, void* scratch) { emulator::run(kernel, isa, args, begin, end, scratch); });
}

inline std::vector<float> randomFloats(int64_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

/// A packed weight and its meaning in f32.
struct PackedWeight {
  Memory packed{0};
  std::vector<float> meaning;  // [n, k]
};
inline PackedWeight packWeight(program::Encoding encoding, int64_t n, int64_t k, uint32_t seed) {
  const std::vector<float> values = randomFloats(n * k, seed, 0.5f);
  PackedWeight weight{Memory(packedBytes(encoding, n, k)), std::vector<float>(n * k)};
  const std::span bytes(reinterpret_cast<std::byte*>(weight.packed.data()), weight.packed.bytes());
  const Status packed = packPanels(encoding, n, k, [&](int64_t row, std::span<float> out) {
    std::copy_n(values.begin() + row * k, k, out.begin());
    return Status();
  }, bytes);
  EXO_CHECK(packed.ok()) << packed.error();
  for (int64_t row = 0; row < n; ++row) unpackRow(encoding, n, k, bytes, row, std::span(weight.meaning).subspan(row * k, k));
  return weight;
}

/// X8 rows as the matmul kernels read them.
inline Memory quantiseRows(Isa isa, const std::vector<float>& x, int64_t m, int64_t k) {
  program::Kernel kernel;
  kernel.set_op(program::Kernel::QUANTIZE);
  kernel.set_k(k);
  Memory in = Memory::of(x), out(m * activationRowBytes(program::X8, k));
  KernelArgs args{.rows = m, .in = {in.data()}, .out = {out.data()}};
  runKernel(isa, kernel, args);
  EXPECT_TRUE(out.guardIntact());
  return out;
}

/// What an X8 row means.
inline std::vector<double> meaningOfX8(const Memory& x8, int64_t m, int64_t k) {
  std::vector<double> out(m * k);
  const int64_t row_bytes = activationRowBytes(program::X8, k);
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t i = 0; i < k; ++i) {
      const unsigned char* block = x8.data() + row * row_bytes + i / 64 * kX8SuperblockBytes;
      float scale;
      std::memcpy(&scale, block + kX8Scales + i % 64 / 32 * 4, 4);
      out[row * k + i] = static_cast<double>(static_cast<int8_t>(block[i % 64])) * scale;
    }
  }
  return out;
}

inline double relativeRms(const std::vector<float>& got, const std::vector<double>& expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - expected[i]) * (got[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return size == 0 ? std::sqrt(error) : std::sqrt(error / size);
}

}  // namespace exo::codegen
