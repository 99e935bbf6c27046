// Whether a step's attention is split over positions (codegen/kernels.md), and the memory its threads then share. A step of many
// (row, KV head) pairs is not: they alone keep the threads busy. The decision changes no bit of the result.
#pragma once

#include "codegen/kernel.h"
#include "codegen/program.pb.h"
#include "executor/runtime/memory.h"
#include "executor/runtime/step.h"

namespace exo::runtime {

class AttentionSplitter {
 public:
  /// Error kDoesNotFit if the shared memory (at most 32 MiB) cannot be had. Without ATTENTION, or with one thread: never splits.
  static Result<AttentionSplitter> create(const program::Program& program, int threads);

  codegen::AttentionSplit forStep(const StepInput& input) const;
  uint64_t bytes() const { return partials_.size() + arrived_.size(); }

 private:
  int64_t partialsBytes(int64_t rows, int64_t chunks) const;

  int64_t threads_ = 1, groups_ = 0;
  std::vector<const program::Kernel*> kernels_;  // of ATTENTION; the program's
  Memory partials_, arrived_;
};

}  // namespace exo::runtime
