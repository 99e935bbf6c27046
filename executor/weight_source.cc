#include "executor/weight_source.h"

#include "frontend/checkpoint/checkpoint.h"
#include "frontend/checkpoint/random_weights.h"

namespace exo {
namespace {

/// A program says rows and columns only: one row is a vector, unless the checkpoint has a matrix of one row there.
TensorRef refOf(const TensorSource& source, const program::TensorSlice& slice) {
  const auto rows = static_cast<int64_t>(slice.rows()), columns = static_cast<int64_t>(slice.columns());
  if (rows != 1) return {slice.tensor(), {rows, columns}};
  const TensorRef vector{slice.tensor(), {columns}};
  if (const auto found = source.find(vector); found.ok() || found.error().code() != ErrorCode::kMismatch) return vector;
  const TensorRef matrix{slice.tensor(), {rows, columns}};
  return source.find(matrix).ok() ? matrix : vector;
}

}  // namespace

Result<std::unique_ptr<TensorSource>> openWeights(const std::string& model_directory, std::optional<uint64_t> seed) {
  if (seed) return std::unique_ptr<TensorSource>(std::make_unique<RandomWeights>(*seed));
  if (model_directory.empty()) {
    return invalid("the plan was made from a model card, which has no weights; give --model DIR, or --random_weights SEED");
  }
  EXO_ASSIGN(Checkpoint checkpoint, Checkpoint::open(model_directory));
  return std::unique_ptr<TensorSource>(std::make_unique<Checkpoint>(std::move(checkpoint)));
}

runtime::WeightReader weightReader(const TensorSource& source, const std::atomic<bool>& cancel) {
  const auto scales = [&source](const program::TensorSlice& slice, int64_t row, std::span<uint16_t> out) {
    return source.readScales(slice.tensor(), row, static_cast<int64_t>(slice.column_begin()), out);
  };
  const auto rows = [&source, &cancel](const program::TensorSlice& slice, int64_t row, std::span<float> out) -> Status {
    if (cancel) return makeError(ErrorCode::kCancelled, "loading was cancelled");
    const TensorSlice part{row, row + 1, static_cast<int64_t>(slice.column_begin()), static_cast<int64_t>(slice.column_end())};
    return source.readRows(refOf(source, slice), part, out);
  };
  return {rows, scales};
}

}  // namespace exo
