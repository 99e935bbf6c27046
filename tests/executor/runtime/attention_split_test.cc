// When a step's attention is split over positions: never where rows and KV heads keep the threads busy, or where it has one chunk.
#include "executor/runtime/attention_split.h"

#include <gtest/gtest.h>

#include <vector>

namespace exo::runtime {
namespace {

program::Program programOf(uint64_t kv_heads, uint64_t max_context) {
  program::Program program;
  program.set_max_tokens(64);
  program.set_max_context(max_context);
  program::Kernel& kernel = *program.add_kernels();
  kernel.set_op(program::Kernel::ATTENTION);
  kernel.set_heads(4 * kv_heads);
  kernel.set_kv_heads(kv_heads);
  kernel.set_group(4);
  kernel.set_head_dim(128);
  return program;
}

/// Chunks for a step of sequences that end at `last` and have one token each.
int64_t chunks(const program::Program& program, int threads, const std::vector<int32_t>& last) {
  auto splitter = AttentionSplitter::create(program, threads);
  EXPECT_TRUE(splitter.ok()) << splitter.error();
  std::vector<int32_t> begin{0};
  for (size_t s = 0; s < last.size(); ++s) begin.push_back(static_cast<int32_t>(s) + 1);
  const codegen::AttentionSplit split = splitter->forStep({.tokens = last, .positions = last, .sequence_begin = begin});
  EXPECT_EQ(split.chunks == 0, split.partials == nullptr);
  EXPECT_EQ(split.chunks == 0, split.arrived == nullptr);
  return split.chunks;
}

TEST(AttentionSplitter, OneLongSequenceOfFewHeads) {
  EXPECT_EQ(chunks(programOf(1, 8192), 2, {8191}), 16);
  EXPECT_EQ(chunks(programOf(1, 8192), 2, {512}), 2);   // positions 0..512
  EXPECT_EQ(chunks(programOf(8, 8192), 3, {8191}), 16); // 8 units on 3 threads: 3, 3, 2
  EXPECT_EQ(chunks(programOf(1, 8192), 4, {100, 5000}), 10);
}

TEST(AttentionSplitter, NotWithoutNeed) {
  EXPECT_EQ(chunks(programOf(1, 8192), 1, {8191}), 0) << "one thread";
  EXPECT_EQ(chunks(programOf(8, 8192), 2, {8191}), 0) << "four heads each";
  EXPECT_EQ(chunks(programOf(1, 8192), 2, std::vector<int32_t>(20, 8191)), 0) << "ten rows each";
  EXPECT_EQ(chunks(programOf(1, 8192), 2, {511}), 0) << "one chunk";
  EXPECT_EQ(chunks(programOf(1, 500), 2, {400}), 0) << "never more than one chunk";
  EXPECT_EQ(chunks(program::Program(), 2, {400}), 0) << "no attention";
}

TEST(AttentionSplitter, NotBeyondItsMemory) {
  // 64 KV heads, 256 heads, 2^20 positions: 2048 chunks of 256 x 576 bytes are 302 MB.
  const program::Program program = programOf(64, 1 << 20);
  EXPECT_EQ(chunks(program, 96, {(1 << 20) - 1}), 0);
  EXPECT_EQ(chunks(program, 96, {8191}), 16);
  EXPECT_LE(AttentionSplitter::create(program, 96)->bytes(), uint64_t{33} << 20);
}

}  // namespace
}  // namespace exo::runtime
