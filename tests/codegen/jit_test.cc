// The JIT: object cache (hits, damage, other keys), several calls, refusals, instruction set names; and how long it takes.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "codegen/object_cache.h"
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Kernel;

class JitCache : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("exo-jit-test-" + std::to_string(std::random_device()()));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) found.push_back(entry.path());
    return found;
  }
  std::filesystem::path directory_;
};

Kernel addKernel(int64_t n) {
  Kernel kernel;
  kernel.set_op(Kernel::ADD);
  kernel.set_n(n);
  return kernel;
}

std::vector<float> runAdd(Jit& jit, const Kernel& kernel) {
  const Kernel* one[] = {&kernel};
  auto compiled = jit.compile(one);
  EXO_CHECK(compiled.ok()) << compiled.error();
  Memory a = Memory::of(std::vector<float>{1, 2, 3}), b = Memory::of(std::vector<float>{10, 20, 30}), out(12);
  KernelArgs args{.rows = 1, .in = {a.data(), b.data()}, .out = {out.data()}};
  compiled->at(0).function(&args, 0, 1, nullptr);
  return out.as<float>();
}
const std::vector<float> kSum = {11, 22, 33};

TEST_F(JitCache, ObjectsAreReused) {
  EXPECT_EQ(runAdd(**Jit::create({Isa::kAuto, directory_}), addKernel(3)), kSum);
  ASSERT_EQ(files().size(), 1u);
  const auto written = std::filesystem::last_write_time(files()[0]);
  EXPECT_EQ(runAdd(**Jit::create({Isa::kAuto, directory_}), addKernel(3)), kSum);
  EXPECT_EQ(std::filesystem::last_write_time(files()[0]), written) << "compiled again";
}

TEST_F(JitCache, EveryDamagedByteIsNoticed) {
  const ObjectCache cache(directory_);
  const std::string object = "machine code", key = "the key";
  cache.store(key, object);
  ASSERT_EQ(cache.load(key), object);
  const auto path = cache.path(key);
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] ^= 0x10;
    std::ofstream(path, std::ios::binary) << bad;
    EXPECT_EQ(cache.load(key), std::nullopt) << "byte " << at;
    std::ofstream(path, std::ios::binary) << good.substr(0, at);
    EXPECT_EQ(cache.load(key), std::nullopt) << "cut at " << at;
  }
}

TEST_F(JitCache, FilesThatOthersCouldHaveWrittenAreNotRead) {
  const ObjectCache cache(directory_);
  cache.store("key", "machine code");
  const std::string path = cache.path("key"), moved = directory_ / "moved";
  ASSERT_EQ(::chmod(path.c_str(), 0620), 0);
  EXPECT_EQ(cache.load("key"), std::nullopt) << "writable by its group";
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(cache.load("key"), "machine code");
  std::filesystem::rename(path, moved);
  std::filesystem::create_symlink(moved, path);
  EXPECT_EQ(cache.load("key"), std::nullopt) << "a symbolic link";
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  std::filesystem::rename(moved, path);
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  EXPECT_EQ(cache.load("key"), std::nullopt) << "owned by another user";
}

TEST_F(JitCache, DamagedFilesAreRebuilt) {
  EXPECT_EQ(runAdd(**Jit::create({Isa::kAuto, directory_}), addKernel(3)), kSum);
  const auto path = files().at(0);
  const auto size = std::filesystem::file_size(path);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size) / 2);
    file.put('\x5a');
    file.put('\xa5');
  }
  EXPECT_EQ(runAdd(**Jit::create({Isa::kAuto, directory_}), addKernel(3)), kSum);
  std::filesystem::resize_file(path, 10);
  EXPECT_EQ(runAdd(**Jit::create({Isa::kAuto, directory_}), addKernel(3)), kSum);
  EXPECT_EQ(std::filesystem::file_size(path), size);
}

TEST_F(JitCache, OneFilePerInstructionSet) {
  for (Isa isa : hostIsas()) EXPECT_EQ(runAdd(**Jit::create({isa, directory_}), addKernel(3)), kSum);
  EXPECT_EQ(files().size(), hostIsas().size());
}

TEST_F(JitCache, UnwritableDirectoryOnlyCostsTime) {
  std::ofstream(directory_.string()) << "a file, not a directory";
  EXPECT_EQ(runAdd(**Jit::create({Isa::kAuto, directory_ / "below"}), addKernel(3)), kSum);
}

TEST(Jit, TheSameKernelTwiceAndInLaterCalls) {
  auto jit = std::move(Jit::create({})).value();
  const Kernel a = addKernel(3), b = addKernel(4);
  const Kernel* first[] = {&a, &a};
  const auto compiled = jit->compile(first);
  ASSERT_TRUE(compiled.ok());
  EXPECT_EQ(compiled->at(0).function, compiled->at(1).function);
  const Kernel* second[] = {&b, &a};
  const auto again = jit->compile(second);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->at(1).function, compiled->at(0).function);
  EXPECT_NE(again->at(0).function, compiled->at(0).function);
}

void expectRefused(Kernel kernel, const std::string& part) {
  const Kernel* one[] = {&kernel};
  const auto compiled = jitFor(Isa::kGeneric).compile(one);
  ASSERT_FALSE(compiled.ok()) << part;
  EXPECT_NE(compiled.error().message().find(part), std::string::npos) << compiled.error().message();
}

TEST(Jit, RefusesBadSpecs) {
  expectRefused(Kernel(), "unknown op");
  Kernel matmul;
  matmul.set_op(Kernel::MATMUL);
  matmul.set_weight(program::Q4);
  expectRefused(matmul, "input must be X8 for Q4 weights, got F32");
  matmul.set_weight(program::I32);
  expectRefused(matmul, "got I32");
  matmul.set_weight(program::F32);
  matmul.set_k(uint64_t{1} << 40);
  expectRefused(matmul, "below 2^31");
  Kernel rope;
  rope.set_op(Kernel::ROPE);
  rope.set_heads(1);
  expectRefused(rope, "head_dim must be in 1..4096, got 0");
  rope.set_head_dim(8);
  rope.set_rotary_dim(4);
  expectRefused(rope, "rotary_dim must be twice the 0 frequencies, got 4");
  Kernel attention;
  attention.set_op(Kernel::ATTENTION);
  attention.set_heads(4);
  attention.set_kv_heads(1);
  attention.set_head_dim(8);
  expectRefused(attention, "group must be in 1..65536, got 0");
  attention.set_group(2);
  expectRefused(attention, "need 2 KV heads, got 1");
  attention.set_kv_heads(2);
  attention.set_cache(program::Q8);
  expectRefused(attention, "cache must be F32 or F16, got Q8");
  Kernel router;
  router.set_op(Kernel::ROUTER_TOP_K);
  router.set_experts(4);
  router.set_top_k(5);
  expectRefused(router, "top_k must be in 1..4, got 5");
}

TEST(Jit, InstructionSetNames) {
  EXPECT_EQ(*parseIsa("auto"), Isa::kAuto);
  for (Isa isa : allIsas()) EXPECT_EQ(*parseIsa(name(isa)), isa);
  EXPECT_FALSE(parseIsa("avx1024").ok());
  EXPECT_NE(hostIsa(), Isa::kAuto);
  EXPECT_EQ(std::move(Jit::create({})).value()->isa(), hostIsa());
}

/// The kernels of a Llama-like decoder with per-head norms.
std::vector<Kernel> modelKernels() {
  std::vector<Kernel> kernels;
  auto add = [&](Kernel::Op op) -> Kernel& {
    kernels.emplace_back().set_op(op);
    Kernel& kernel = kernels.back();
    kernel.set_n(2048), kernel.set_k(2048), kernel.set_weight(program::Q4), kernel.set_input(program::X8);
    kernel.set_heads(32), kernel.set_kv_heads(8), kernel.set_group(4), kernel.set_head_dim(64);
    kernel.set_cache(program::F16), kernel.set_top_k(64), kernel.set_epsilon(1e-5f), kernel.set_scale(1);
    return kernel;
  };
  for (auto op : {Kernel::EMBED, Kernel::RMS_NORM, Kernel::QUANTIZE, Kernel::ADD, Kernel::SILU_MUL, Kernel::HEAD_NORM, Kernel::KV_APPEND,
                  Kernel::ATTENTION, Kernel::TAKE_ROWS, Kernel::TOP_K, Kernel::MATMUL}) add(op);
  for (int heads : {32, 8}) {
    Kernel& rope = add(Kernel::ROPE);
    rope.set_heads(heads), rope.set_rotary_dim(64);
    for (int i = 0; i < 32; ++i) rope.add_rope_frequencies(1.0f / static_cast<float>(i + 1));
  }
  add(Kernel::HEAD_NORM).set_heads(8);
  add(Kernel::QUANTIZE).set_k(8192);
  for (auto [n, k] : {std::pair{512, 2048}, {8192, 2048}, {2048, 8192}, {128256, 2048}, {3072, 2048}}) {
    Kernel& matmul = add(Kernel::MATMUL);
    matmul.set_n(n), matmul.set_k(k);
  }
  return kernels;
}

double compileSeconds(const std::string& directory) {
  const std::vector<Kernel> kernels = modelKernels();
  std::vector<const Kernel*> pointers;
  for (const Kernel& kernel : kernels) pointers.push_back(&kernel);
  const auto start = std::chrono::steady_clock::now();
  auto jit = std::move(Jit::create({Isa::kAuto, directory})).value();
  EXPECT_TRUE(jit->compile(pointers).ok());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST_F(JitCache, WarmStartIsMuchFasterThanCold) {
  const double cold = compileSeconds(directory_), warm = compileSeconds(directory_);
  RecordProperty("cold_ms", std::to_string(cold * 1e3));
  RecordProperty("warm_ms", std::to_string(warm * 1e3));
  std::cout << modelKernels().size() << " kernels: cold " << cold * 1e3 << " ms, warm " << warm * 1e3 << " ms\n";
  EXPECT_LT(warm, cold / 2);
}

}  // namespace
}  // namespace exo::codegen
