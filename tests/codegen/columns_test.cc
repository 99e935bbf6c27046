// Kernels divided by columns (`grain`) give the bits of the same kernels divided by rows, however units are dealt out.
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr int64_t kRows = 5;

class ColumnUnits : public testing::TestWithParam<Isa> {
 protected:
  /// The bytes that `kernel` writes, with units of `grain` columns, `chunk` at a time.
  std::vector<unsigned char> run(Kernel kernel, int64_t grain, int64_t chunk, const std::vector<Memory>& in, int64_t out_bytes,
                                 const StepView* step = nullptr) {
    kernel.set_grain(static_cast<uint64_t>(grain));
    Memory out(out_bytes);
    KernelArgs args{.rows = kRows, .out = {out.data()}, .step = step};
    for (size_t i = 0; i < in.size(); ++i) args.in[i] = in[i].data();
    runKernel(GetParam(), kernel, args, chunk);
    EXPECT_TRUE(out.guardIntact()) << Kernel::Op_Name(kernel.op()) << " grain " << grain;
    return out.as<unsigned char>();
  }

  void expectSameBits(const Kernel& kernel, const std::vector<int64_t>& grains, const std::vector<Memory>& in, int64_t out_bytes,
                      const StepView* step = nullptr) {
    const auto expected = run(kernel, 0, 0, in, out_bytes, step);
    for (int64_t grain : grains)
      for (int64_t chunk : {0, 1, 2})
        EXPECT_EQ(run(kernel, grain, chunk, in, out_bytes, step), expected)
            << Kernel::Op_Name(kernel.op()) << ", " << dividedColumns(kernel) << " columns, grain " << grain << ", " << chunk << " units at a time";
  }
};

Kernel kernelOf(Kernel::Op op, int64_t n) {
  Kernel kernel;
  kernel.set_op(op);
  kernel.set_n(static_cast<uint64_t>(n));
  return kernel;
}

std::vector<Memory> floats(std::initializer_list<int64_t> counts) {
  std::vector<Memory> all;
  for (int64_t count : counts) all.push_back(Memory::of(randomFloats(count, static_cast<uint32_t>(all.size() + 1))));
  return all;
}

TEST_P(ColumnUnits, SumsAndActivations) {
  for (int64_t n : {16, 17, 64, 100, 200}) {
    expectSameBits(kernelOf(Kernel::ADD, n), {16, 64, 112}, floats({kRows * n, kRows * n}), kRows * n * 4);
    expectSameBits(kernelOf(Kernel::SILU_MUL, n), {16, 64, 112}, floats({kRows * n, kRows * n}), kRows * n * 4);
    expectSameBits(kernelOf(Kernel::BIAS_ADD, n), {16, 64, 112}, floats({kRows * n, n}), kRows * n * 4);
  }
}

TEST_P(ColumnUnits, Quantise) {
  for (int64_t k : {32, 64, 100, 192, 200}) {
    Kernel kernel = kernelOf(Kernel::QUANTIZE, k);
    kernel.set_k(static_cast<uint64_t>(k));
    expectSameBits(kernel, {64, 128}, floats({kRows * k}), kRows * activationRowBytes(program::X8, k));
  }
}

TEST_P(ColumnUnits, Heads) {
  const std::vector<int32_t> positions = {0, 1, 7, 100, 4095};
  const StepView step{.tokens = kRows, .positions = positions.data()};
  for (int64_t dim : {16, 20, 64}) {
    Kernel norm;
    norm.set_op(Kernel::HEAD_NORM);
    norm.set_heads(5);
    norm.set_head_dim(static_cast<uint64_t>(dim));
    norm.set_epsilon(1e-6f);
    expectSameBits(norm, {dim, 2 * dim, 4 * dim}, floats({kRows * 5 * dim, dim}), kRows * 5 * dim * 4);
    Kernel rope = norm;
    rope.set_op(Kernel::ROPE);
    rope.set_rotary_dim(8);
    rope.set_scale(1);
    for (float frequency : {1.0f, 0.5f, 0.1f, 0.01f}) rope.add_rope_frequencies(frequency);
    expectSameBits(rope, {dim, 2 * dim, 4 * dim}, floats({kRows * 5 * dim}), kRows * 5 * dim * 4, &step);
  }
}

TEST_P(ColumnUnits, KvAppend) {
  const std::vector<int32_t> positions = {62, 63, 64, 65, 66}, sequence(kRows, 0), pages = {1, 0};
  const StepView step{.tokens = kRows, .sequences = 1, .positions = positions.data(), .sequence = sequence.data(),
                      .page_table = pages.data(), .page_table_stride = 2};
  for (program::Encoding encoding : {program::F32, program::F16}) {
    const int64_t heads = 3, dim = 20;
    Kernel kernel;
    kernel.set_op(Kernel::KV_APPEND);
    kernel.set_kv_heads(heads);
    kernel.set_head_dim(dim);
    kernel.set_cache(encoding);
    const auto filled = [&](int64_t grain, int64_t chunk) {
      kernel.set_grain(static_cast<uint64_t>(grain));
      const std::vector<Memory> in = floats({kRows * heads * dim, kRows * heads * dim});
      Memory cache(cacheBytes(encoding, 2, heads, dim, dim));
      const KernelArgs args{.rows = kRows, .in = {in[0].data(), in[1].data(), cache.data()}, .step = &step};
      runKernel(GetParam(), kernel, args, chunk);
      EXPECT_TRUE(cache.guardIntact());
      return cache.as<unsigned char>();
    };
    const auto expected = filled(0, 0);
    for (int64_t grain : {dim, 2 * dim})
      for (int64_t chunk : {0, 1}) EXPECT_EQ(filled(grain, chunk), expected) << "grain " << grain;
  }
}

TEST_P(ColumnUnits, MatMul) {
  for (program::Encoding encoding : {program::Q4, program::F32}) {
    const int64_t n = 200, k = 96;
    const bool quantised = encoding == program::Q4;
    Kernel kernel = kernelOf(Kernel::MATMUL, n);
    kernel.set_k(static_cast<uint64_t>(k));
    kernel.set_weight(encoding);
    kernel.set_input(quantised ? program::X8 : program::F32);
    const auto x = randomFloats(kRows * k, 1);
    std::vector<Memory> in;
    in.push_back(quantised ? quantiseRows(GetParam(), x, kRows, k) : Memory::of(x));
    in.push_back(std::move(packWeight(encoding, n, k, 2).packed));
    expectSameBits(kernel, {16, 48, 64, 128}, in, kRows * n * 4);
  }
}

INSTANTIATE_TEST_SUITE_P(Host, ColumnUnits, testing::ValuesIn(testedIsas()), [](const auto& info) {
  std::string text = name(info.param);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
});

}  // namespace
}  // namespace exo::codegen
