#include "executor/runtime/weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <optional>
#include <string>

#include "codegen/layout.h"
#include "executor/runtime/program_check.h"

namespace exo::runtime {
namespace {

using program::Program;
using program::Weight;

constexpr int64_t kChunkRows = 4 * codegen::kPanelRows;   // rows one thread packs at a time

int64_t rowsOf(const Weight& weight) { return weight.layout() == Weight::VECTOR ? 1 : static_cast<int64_t>(weight.rows()); }
int64_t chunksOfSlice(const Weight& weight) { return (rowsOf(weight) + kChunkRows - 1) / kChunkRows; }

/// The pieces of all weights in one numbering, handed out to threads in order.
class Chunks {
 public:
  explicit Chunks(const Program& program) {
    for (const Weight& weight : program.weights()) {
      first_.push_back(count_);
      count_ += chunksOfSlice(weight) * weight.slices_size();
    }
  }
  int64_t size() const { return count_; }
  struct Place {
    int weight, slice;
    int64_t row;           // first, in the slice
  };
  Place at(const Program& program, int64_t chunk) const {
    const int weight = static_cast<int>(std::upper_bound(first_.begin(), first_.end(), chunk) - first_.begin()) - 1;
    const int64_t inside = chunk - first_[weight], per_slice = chunksOfSlice(program.weights(weight));
    return {weight, static_cast<int>(inside / per_slice), inside % per_slice * kChunkRows};
  }

 private:
  std::vector<int64_t> first_;   // per weight; equal for those without rows
  int64_t count_ = 0;
};

/// Weights follow each other in the program's order.
std::vector<std::byte*> placesIn(const Memory& memory, const Program& program) {
  std::vector<std::byte*> places;
  uint64_t offset = 0;
  for (const Weight& weight : program.weights()) {
    places.push_back(memory.data() + offset);
    offset += weightBytes(weight);
  }
  return places;
}

class Loader {
 public:
  Loader(const Program& program, const WeightReader& read, const LoadProgress& progress, std::vector<std::byte*> data)
      : program_(program), read_(read), progress_(progress), data_(std::move(data)), chunks_(program), total_(totalWeightBytes(program)) {}

  Status run(ThreadPool& pool) {
    pool.run([this](int thread) { work(thread); });
    if (error_) return *std::move(error_);
    if (progress_) progress_(total_, total_);
    return {};
  }

 private:
  void work(int thread) {
    while (!failed_.load(std::memory_order_relaxed)) {
      const int64_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= chunks_.size()) return;
      const auto place = chunks_.at(program_, chunk);
      Status status = guardedFill(place);
      if (!status.ok()) return fail(std::move(status).error(), place);
      if (thread == 0 && progress_) progress_(done_.load(std::memory_order_relaxed), total_);
    }
  }

  void fail(Error error, const Chunks::Place& place) {
    const Weight& weight = program_.weights(place.weight);
    failed_.store(true, std::memory_order_relaxed);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error_) return;
    error_ = std::move(error).note("while loading weight \"" + weight.name() + "\" from tensor \"" +
                                   weight.slices(place.slice).tensor() + "\", rows from " +
                                   std::to_string(weight.slices(place.slice).row_begin() + static_cast<uint64_t>(place.row)));
  }

  /// Nothing may be thrown through the pool: a lack of memory comes as std::bad_alloc.
  Status guardedFill(const Chunks::Place& place) {
    try {
      return fill(place);
    } catch (const std::exception& failure) {
      return makeError(ErrorCode::kDoesNotFit, ErrorScope::kRank, failure.what());
    }
  }

  Status fill(const Chunks::Place& place) {
    const Weight& weight = program_.weights(place.weight);
    const program::TensorSlice& slice = weight.slices(place.slice);
    const int64_t columns = static_cast<int64_t>(weight.columns());
    if (columns == 0) return {};
    if (weight.layout() == Weight::VECTOR) return fillVector(slice, {reinterpret_cast<float*>(data_[place.weight]) + place.slice * columns, weight.columns()});

    const int64_t rows = std::min(kChunkRows, rowsOf(weight) - place.row);
    const int64_t first_row = static_cast<int64_t>(slice.row_begin()) + place.row;
    const int64_t slice_bytes = codegen::packedBytes(weight.encoding(), rowsOf(weight), columns);
    const int64_t offset = place.slice * slice_bytes + place.row / codegen::kPanelRows * codegen::panelBytes(weight.encoding(), columns);
    const uint64_t bytes = static_cast<uint64_t>(codegen::packedBytes(weight.encoding(), rows, columns));
    EXO_TRY(codegen::packPanels(
        weight.encoding(), rows, columns,
        [&](int64_t row, std::span<float> out) { return read_.row(slice, first_row + row, out); },
        {data_[place.weight] + offset, bytes},
        read_.scales ? [&](int64_t row, std::span<uint16_t> out) { return read_.scales(slice, first_row + row, out); } : codegen::ScaleReader()));
    done_.fetch_add(bytes, std::memory_order_relaxed);
    return {};
  }

  Status fillVector(const program::TensorSlice& slice, std::span<float> out) {
    EXO_TRY(read_.row(slice, static_cast<int64_t>(slice.row_begin()), out));
    for (size_t i = 0; i < out.size(); ++i)
      if (!std::isfinite(out[i])) return invalid("weight at column ", i, " is not a finite number");
    done_.fetch_add(out.size_bytes(), std::memory_order_relaxed);
    return {};
  }

  const Program& program_;
  const WeightReader& read_;
  const LoadProgress& progress_;
  const std::vector<std::byte*> data_;   // per weight
  const Chunks chunks_;
  const uint64_t total_;
  std::atomic<int64_t> next_{0};
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::optional<Error> error_;    // the first
};

}  // namespace

uint64_t totalWeightBytes(const Program& program) {
  uint64_t total = 0;
  for (const Weight& weight : program.weights()) total += weightBytes(weight);
  return total;
}

Result<LoadedWeights> loadWeights(const Program& program, const WeightReader& read, ThreadPool& pool,
                                  const LoadProgress& progress, const WeightCacheOptions& cache) {
  const Packer pack = [&](Memory& memory, const LoadProgress& report) { return Loader(program, read, report, placesIn(memory, program)).run(pool); };
  EXO_ASSIGN(std::optional<Memory> cached, cachedWeights(program, cache, pool, pack, progress));
  LoadedWeights loaded;
  if (cached) {
    loaded.memory = *std::move(cached);
  } else {
    EXO_ASSIGN(loaded.memory, Memory::allocate(totalWeightBytes(program), "weights"));
    EXO_TRY(pack(loaded.memory, progress));
  }
  const std::vector<std::byte*> places = placesIn(loaded.memory, program);
  loaded.data.assign(places.begin(), places.end());
  return loaded;
}

}  // namespace exo::runtime
