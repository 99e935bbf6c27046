// AMX: the loops around matrix tiles, run on this machine with the tile instructions replaced by plain code of their documented
// meaning, give the bits of the vector loops; the objects for AMX hold the instructions and a configuration they accept; and
// nothing selects them where CPU or kernel lack them. On a machine with AMX matmul_test and the others run the real ones.
#include <llvm-c/Core.h>
#include <llvm-c/Disassembler.h>
#include <llvm-c/Object.h>
#include <llvm-c/Target.h>

#include "codegen/compile.h"
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Encoding;
using program::Kernel;

Kernel product(Kernel::Op op, Encoding encoding, int64_t n, int64_t k) {
  Kernel kernel;
  kernel.set_op(op);
  kernel.set_weight(encoding);
  kernel.set_input(program::X8);
  kernel.set_n(static_cast<uint64_t>(n));
  kernel.set_k(static_cast<uint64_t>(k));
  return kernel;
}

// ---- the loops

/// The best this machine has without AMX.
Isa baseIsa() {
  for (Isa isa : hostIsas()) {
    if (isa != Isa::kAmx) return isa;
  }
  return Isa::kGeneric;
}

Jit& emulatedJit() {
  static const std::unique_ptr<Jit> kJit = [] {
    Target target = std::move(Target::forHost(baseIsa())).value();
    target.matrix = MatrixUnit::kEmulated;
    return std::move(createJit(std::move(target), "")).value();
  }();
  return *kJit;
}

class EmulatedTiles : public testing::TestWithParam<Encoding> {
 protected:
  struct Case {
    int64_t rows, n, k, grain = 0, chunk = 0;
  };
  std::vector<float> run(Jit& jit, const Kernel& kernel, const Memory& x, const Memory& w, Case c) {
    Memory out(c.rows * c.n * 4);
    runKernel(jit, kernel, {.rows = c.rows, .in = {x.data(), w.data()}, .out = {out.data()}}, c.chunk);
    EXPECT_TRUE(out.guardIntact()) << "wrote behind the output";
    return out.as<float>();
  }
  void check(Case c) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, n " << c.n << " k " << c.k << " grain " << c.grain << " chunk " << c.chunk);
    Kernel kernel = product(Kernel::MATMUL, GetParam(), c.n, c.k);
    kernel.set_grain(static_cast<uint64_t>(c.grain));
    const PackedWeight w = packWeight(GetParam(), c.n, c.k, 7);
    const Memory x = quantiseRows(baseIsa(), randomFloats(c.rows * c.k, 11), c.rows, c.k);
    const auto got = run(emulatedJit(), kernel, x, w.packed, c);
    EXPECT_EQ(got, run(jitFor(baseIsa()), kernel, x, w.packed, c)) << "other bits than without tiles";
    std::vector<double> expected(static_cast<size_t>(c.rows * c.n), 0.0);
    const std::vector<double> meaning = meaningOfX8(x, c.rows, c.k);
    for (int64_t row = 0; row < c.rows; ++row)
      for (int64_t column = 0; column < c.n; ++column)
        for (int64_t i = 0; i < c.k; ++i) expected[row * c.n + column] += meaning[row * c.k + i] * w.meaning[column * c.k + i];
    EXPECT_LE(relativeRms(got, expected), 1e-6);
  }
};

TEST_P(EmulatedTiles, EveryNumberOfRows) {
  for (int64_t rows = 22; rows <= 50; ++rows) check({rows, 40, 70});
  for (int64_t rows : {95, 96, 97, 107, 108, 109, 193}) check({rows, 40, 70});
}
TEST_P(EmulatedTiles, EveryWidth) {
  for (int64_t n : {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130}) check({37, n, 100});
}
TEST_P(EmulatedTiles, EveryLength) {
  for (int64_t k : {1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1100}) check({29, 36, k});
  check({100, 70, 1300});  // blocks of rows, panels and columns at once
}
TEST_P(EmulatedTiles, DividedByColumns) {
  for (int64_t grain : {16, 48, 64, 128})
    for (int64_t chunk : {0, 1, 2}) check({30, 200, 96, grain, chunk});
}
TEST_P(EmulatedTiles, ValuesAtTheEdgeOfTheirRange) {
  const int64_t rows = 24, n = 16, k = 64;
  Memory x(rows * activationRowBytes(program::X8, k)), w(packedBytes(GetParam(), n, k), 0xff);
  std::memset(x.data(), 0x81, static_cast<size_t>(x.bytes()));  // -127, the most that QUANTIZE writes
  for (int64_t row = 0; row < rows; ++row) {
    unsigned char* at = x.data() + row * kX8SuperblockBytes;
    for (int half = 0; half < 2; ++half) {
      const float scale = 1;
      const int32_t compensation = -8 * 32 * -127;
      std::memcpy(at + kX8Scales + 4 * half, &scale, 4);
      std::memcpy(at + kX8Compensations + 4 * half, &compensation, 4);
    }
  }
  const uint16_t one = toHalf(1);
  for (int64_t lane = 0; lane < 32; ++lane) std::memcpy(w.data() + w.bytes() - 64 + 2 * lane, &one, 2);
  const float weight = GetParam() == program::Q4 ? 7 : 127;
  const Kernel kernel = product(Kernel::MATMUL, GetParam(), n, k);
  EXPECT_EQ(run(emulatedJit(), kernel, x, w, {rows, n, k}), std::vector<float>(rows * n, 64 * -127 * weight));
}
TEST_P(EmulatedTiles, NothingToDo) {
  Memory none(0);
  EXPECT_EQ(run(emulatedJit(), product(Kernel::MATMUL, GetParam(), 5, 0), none, none, {40, 5, 0}), std::vector<float>(200, 0.0f));
}

/// Rows of x that are no equal distance apart.
TEST_P(EmulatedTiles, Experts) {
  const int64_t n = 50, k = 600, experts = 3, pairs = 150, bytes = packedBytes(GetParam(), n, k);
  Memory weights(bytes * experts);
  for (int64_t e = 0; e < experts; ++e) std::memcpy(weights.data() + e * bytes, packWeight(GetParam(), n, k, static_cast<uint32_t>(e)).packed.data(), bytes);
  std::vector<int32_t> order(pairs);
  for (int64_t p = 0; p < pairs; ++p) order[p] = static_cast<int32_t>(p * 67 % pairs);  // 67 and 150 share no factor
  const Memory order_memory = Memory::of(order), segments = Memory::of(std::vector<int32_t>{0, 35, 36, 150});
  for (int64_t group : {1, 2}) {
    Kernel kernel = product(Kernel::EXPERT_MATMUL, GetParam(), n, k);
    kernel.set_experts(experts);
    kernel.set_group(static_cast<uint64_t>(group));
    const int64_t rows = pairs / group;
    const Memory x = quantiseRows(baseIsa(), randomFloats(rows * k, 9), rows, k);
    const auto result = [&](Jit& jit) {
      Memory out(pairs * n * 4);
      runKernel(jit, kernel, {.rows = pairs, .in = {x.data(), weights.data(), order_memory.data(), segments.data()}, .out = {out.data()}}, 2);
      EXPECT_TRUE(out.guardIntact());
      return out.as<float>();
    };
    EXPECT_EQ(result(emulatedJit()), result(jitFor(baseIsa()))) << "group " << group;
  }
}

INSTANTIATE_TEST_SUITE_P(Quantised, EmulatedTiles, testing::Values(program::Q4, program::Q8),
                         [](const auto& info) { return program::Encoding_Name(info.param); });

// ---- the objects

/// What is in a section whose name begins so, all of them.
std::vector<std::string> sectionsOf(const Object& object, const std::string& prefix) {
  LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRange(object.bytes.data(), object.bytes.size(), "object", false);
  char* problem = nullptr;
  LLVMBinaryRef binary = LLVMCreateBinary(buffer, nullptr, &problem);
  EXO_CHECK(binary != nullptr) << problem;
  std::vector<std::string> found;
  LLVMSectionIteratorRef at = LLVMObjectFileCopySectionIterator(binary);
  for (; !LLVMObjectFileIsSectionIteratorAtEnd(binary, at); LLVMMoveToNextSection(at)) {
    const char* section = LLVMGetSectionName(at);
    if (section && std::string(section).starts_with(prefix)) found.emplace_back(LLVMGetSectionContents(at), LLVMGetSectionSize(at));
  }
  LLVMDisposeSectionIterator(at);
  LLVMDisposeBinary(binary);
  LLVMDisposeMemoryBuffer(buffer);
  return found;
}

/// How often each instruction stands in the object.
std::map<std::string, int> instructionsOf(const Object& object) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86Disassembler();
  LLVMDisasmContextRef decoder = LLVMCreateDisasmCPU("x86_64-unknown-linux-gnu", "sapphirerapids", nullptr, 0, nullptr, nullptr);
  EXO_CHECK(decoder != nullptr);
  std::map<std::string, int> counts;
  for (std::string text : sectionsOf(object, ".text")) {
    auto* bytes = reinterpret_cast<uint8_t*>(text.data());
    for (size_t at = 0; at < text.size();) {
      char line[256];
      const size_t length = LLVMDisasmInstruction(decoder, bytes + at, text.size() - at, at, line, sizeof line);
      if (length == 0) ADD_FAILURE() << "no instruction at " << at << " of " << object.symbol;
      const std::string words = line;
      const size_t begin = words.find_first_not_of("\t "), end = words.find_first_of("\t ", begin);
      if (begin != std::string::npos) ++counts[words.substr(begin, end - begin)];
      at += std::max<size_t>(length, 1);
    }
  }
  LLVMDisasmDispose(decoder);
  return counts;
}

std::vector<Object> objectsOf(Isa isa, Kernel::Op op, Encoding encoding) {
  Kernel kernel = product(op, encoding, 64, 128);
  if (op == Kernel::EXPERT_MATMUL) kernel.set_experts(2);
  if (encoding == program::F32) kernel.set_input(program::F32);
  auto objects = emitObjects(kernel, isa);
  EXO_CHECK(objects.ok()) << objects.error();
  return std::move(*objects);
}

TEST(AmxObjects, HoldTheTileInstructions) {
  for (Kernel::Op op : {Kernel::MATMUL, Kernel::EXPERT_MATMUL}) {
    for (Encoding encoding : {program::Q4, program::Q8}) {
      auto counts = instructionsOf(objectsOf(Isa::kAmx, op, encoding).at(1));
      EXPECT_EQ(counts["ldtilecfg"], 1);
      EXPECT_EQ(counts["tilerelease"], 1);
      // Of a superblock: two halves of two panels; the first superblock stands before the loop.
      EXPECT_EQ(counts["tdpbssd"], 8);
      EXPECT_EQ(counts["tilezero"], 8);
      EXPECT_EQ(counts["tilestored"], 8);
      EXPECT_EQ(counts["tileloadd"], 12);
      EXPECT_GT(counts["vpdpbusd"], 0) << "decode stays with vectors";
    }
  }
}

/// The bound that emit_tile.cc reckons with: one conversion per row of sums, straight from what a tile stored.
TEST(AmxObjects, ConvertEveryRowOfSumsOnce) {
  auto tiles = instructionsOf(objectsOf(Isa::kAmx, Kernel::MATMUL, program::Q8).at(1));
  auto vectors = instructionsOf(objectsOf(Isa::kAvx512Vnni, Kernel::MATMUL, program::Q8).at(1));
  constexpr int kRows = 12 * 2 * 2 * 2;  // rows, panels, halves; in the loop and behind it
  EXPECT_EQ(tiles["vcvtdq2ps"] - vectors["vcvtdq2ps"], kRows);
}

TEST(AmxObjects, OthersHoldNone) {
  for (Isa isa : {Isa::kAmx, Isa::kAvx512Vnni}) {
    for (const Object& object : objectsOf(isa, Kernel::MATMUL, isa == Isa::kAmx ? program::F32 : program::Q4)) {
      for (const auto& [instruction, count] : instructionsOf(object)) EXPECT_FALSE(instruction.starts_with("tile") || instruction.starts_with("tdp")) << instruction;
    }
  }
}

/// Reserved bytes must be zero and unused registers empty, or LDTILECFG faults.
TEST(AmxObjects, ConfigureTheRegisters) {
  std::string config(64, '\0');
  config[0] = 1;
  const int bytes[] = {64, 64, 64, 64, 32, 32, 64, 64}, rows[] = {12, 12, 12, 12, 12, 12, 8, 8};
  for (int tile = 0; tile < 8; ++tile) {
    config[16 + 2 * tile] = static_cast<char>(bytes[tile]);
    config[48 + tile] = static_cast<char>(rows[tile]);
  }
  int found = 0;
  for (const std::string& constants : sectionsOf(objectsOf(Isa::kAmx, Kernel::MATMUL, program::Q4).at(1), ".rodata")) found += constants.find(config) != std::string::npos;
  EXPECT_EQ(found, 1);
}

// ---- the gate

TEST(AmxHost, IsUsedOnlyWhereItIs) {
  const auto jit = Jit::create({Isa::kAmx, ""});
  if (hostIsa() == Isa::kAmx) {
    EXPECT_TRUE(jit.ok()) << jit.error();
    return;
  }
  ASSERT_FALSE(jit.ok());
  EXPECT_EQ(jit.error().message(), std::string("this machine has no amx; its best is ") + name(hostIsa()));
  GTEST_SKIP() << "this machine has no AMX, or its kernel grants none: the instructions themselves were not run";
}

TEST(AmxHost, GivesTheBitsOfAvx512) {
  if (hostIsa() != Isa::kAmx) GTEST_SKIP() << "this machine has no AMX, or its kernel grants none: the instructions themselves were not run";
  for (Encoding encoding : {program::Q4, program::Q8}) {
    for (int64_t rows : {1, 24, 37, 100}) {
      const int64_t n = 200, k = 1100;
      const PackedWeight w = packWeight(encoding, n, k, 3);
      const Memory x = quantiseRows(Isa::kAmx, randomFloats(rows * k, 5), rows, k);
      std::vector<std::vector<float>> results;
      for (Isa isa : {Isa::kAmx, Isa::kAvx512Vnni}) {
        Memory out(rows * n * 4);
        runKernel(isa, product(Kernel::MATMUL, encoding, n, k), {.rows = rows, .in = {x.data(), w.packed.data()}, .out = {out.data()}});
        results.push_back(out.as<float>());
      }
      EXPECT_EQ(results[0], results[1]) << rows << " rows";
    }
  }
}

}  // namespace
}  // namespace exo::codegen
