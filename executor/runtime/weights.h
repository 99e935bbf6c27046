// A program's weights in memory, in the order and layout its kernels read. Every row is read once, as f32, and packed
// straight into its final place by the thread that read it: a weight is never twice in memory, and its pages lie with the
// threads that filled them. Experts of a stack follow each other.
// With a cache (weight_cache.h) that place is a file's mapping, and a later start maps it again instead of reading anything.
#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>
#include <span>
#include <vector>

#include "codegen/program.pb.h"
#include "executor/runtime/memory.h"
#include "executor/runtime/threads.h"
#include "executor/runtime/weight_cache.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// Where weights come from. Called from several threads at a time. Must not throw.
struct WeightReader {
  /// Row `row` of the tensor (row_begin <= row < row_end of the slice, counted in the whole tensor), columns
  /// [column_begin, column_end), as f32 into `out`.
  using Row = std::function<Status(const program::TensorSlice& slice, int64_t row, std::span<float> out)>;
  /// The f16 scales of the same row's blocks of 32, if it is stored in such blocks: codegen::ScaleReader.
  using Scales = std::function<bool(const program::TensorSlice& slice, int64_t row, std::span<uint16_t> scales)>;

  WeightReader(Row row, Scales scales = nullptr) : row(std::move(row)), scales(std::move(scales)) {}
  template <class F>
    requires std::is_invocable_r_v<Status, F, const program::TensorSlice&, int64_t, std::span<float>>
  WeightReader(F function) : row(std::move(function)) {}

  Row row;
  Scales scales;
};

struct LoadedWeights {
  Memory memory;
  std::vector<const std::byte*> data;   // per weight of the program, 64-byte aligned; read-only
};

/// The program is checked. Errors of the reader come back with the weight's and tensor's names; not finite numbers are
/// errors; kDoesNotFit when memory is refused.
Result<LoadedWeights> loadWeights(const program::Program& program, const WeightReader& read, ThreadPool& pool,
                                  const LoadProgress& progress, const WeightCacheOptions& cache);

/// Sum of all weights, as laid out by loadWeights.
uint64_t totalWeightBytes(const program::Program& program);

}  // namespace exo::runtime
