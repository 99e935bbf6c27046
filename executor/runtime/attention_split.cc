#include "executor/runtime/attention_split.h"

#include <algorithm>

namespace exo::runtime {
namespace {

constexpr int64_t kMaxPartialsBytes = int64_t{32} << 20;
// Whole units keep the threads busy for at least kBusy of kBusy + 1 parts of the time: less is worth the folding.
constexpr int64_t kBusy = 9;

int64_t chunksOf(int64_t positions) { return (positions + codegen::kAttentionChunk - 1) / codegen::kAttentionChunk; }

/// Positions that the longest sequence has after the step.
int64_t longest(const StepInput& input) {
  int64_t positions = 0;
  for (size_t s = 1; s < input.sequence_begin.size(); ++s) positions = std::max<int64_t>(positions, input.positions[input.sequence_begin[s] - 1] + 1);
  return positions;
}

}  // namespace

Result<AttentionSplitter> AttentionSplitter::create(const program::Program& program, int threads) {
  AttentionSplitter splitter;
  splitter.threads_ = threads;
  for (const program::Kernel& kernel : program.kernels()) {
    if (kernel.op() != program::Kernel::ATTENTION) continue;
    splitter.kernels_.push_back(&kernel);
    splitter.groups_ = std::max(splitter.groups_, codegen::attentionGroups(kernel));
  }
  const int64_t chunks = chunksOf(static_cast<int64_t>(program.max_context()));
  if (threads < 2 || chunks < 2 || splitter.groups_ == 0) return splitter;
  const int64_t rows = std::min<int64_t>(static_cast<int64_t>(program.max_tokens()), kBusy * threads / splitter.groups_ + 1);
  const int64_t bytes = std::min(splitter.partialsBytes(rows, chunks), kMaxPartialsBytes);
  EXO_ASSIGN(splitter.partials_, Memory::allocate(static_cast<uint64_t>(bytes), "partial results of attention"));
  EXO_ASSIGN(splitter.arrived_, Memory::allocate(static_cast<uint64_t>(rows * splitter.groups_) * sizeof(int32_t), "counters of attention"));
  return splitter;
}

int64_t AttentionSplitter::partialsBytes(int64_t rows, int64_t chunks) const {
  int64_t bytes = 0;
  for (const program::Kernel* kernel : kernels_) bytes = std::max(bytes, codegen::attentionPartialsBytes(*kernel, rows, chunks));
  return bytes;
}

codegen::AttentionSplit AttentionSplitter::forStep(const StepInput& input) const {
  const int64_t rows = input.numTokens(), units = rows * groups_, rounds = (units + threads_ - 1) / threads_;
  const bool busy = units * (kBusy + 1) >= rounds * threads_ * kBusy;
  if (busy || rows * groups_ * static_cast<int64_t>(sizeof(int32_t)) > static_cast<int64_t>(arrived_.size())) return {};
  const int64_t chunks = chunksOf(longest(input));
  if (chunks < 2 || partialsBytes(rows, chunks) > static_cast<int64_t>(partials_.size())) return {};
  return {chunks, partials_.data(), reinterpret_cast<int32_t*>(arrived_.data())};
}

}  // namespace exo::runtime
