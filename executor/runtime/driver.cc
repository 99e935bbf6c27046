#include "executor/runtime/driver.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "executor/runtime/messages.h"
#include "executor/transport/mesh.h"

namespace exo::runtime {

Result<std::unique_ptr<Driver>> Driver::create(Engine& engine, transport::Mesh* mesh, std::chrono::milliseconds timeout) {
  const program::Program& program = engine.program();
  if (program.rank() != 0) return invalid("only rank 0 drives the steps, this is rank ", program.rank());
  if (!program.has_output_values()) return invalid("the program of rank 0 has no output_values: it could not choose a token");
  const int world = static_cast<int>(program.world_size());
  if ((mesh == nullptr ? 1 : mesh->world()) != world) return invalid("the program has ", world, " ranks, the mesh another number");
  for (int rank = 1; rank < world; ++rank)
    if (!mesh->has(rank)) return invalid("rank 0 needs a link to every rank, there is none to rank ", rank);
  return std::unique_ptr<Driver>(new Driver(engine, mesh, timeout));
}

Status Driver::step(const StepInput& input, GatherLogits gather, StepOutput* output) {
  if (stopped_) return makeError(ErrorCode::kCancelled, ErrorScope::kJob, "the job was stopped");
  if (broken_) return *broken_;
  EXO_TRY(validate(input, engine_.limits()));
  if (gather == GatherLogits::kToRankZero) EXO_TRY(makeRoomForLogits(input.numRows()));
  Status status = stepEverywhere(input, gather, output);
  if (!status.ok()) broken_ = status.error();
  return status;
}

/// From the first message on the ranks move together: no error here can be taken back.
Status Driver::stepEverywhere(const StepInput& input, GatherLogits gather, StepOutput* output) {
  EXO_TRY(broadcast({.kind = StepKind::kStep, .gather = gather, .number = number_++, .input = input}));
  StepOutput mine;
  EXO_TRY(engine_.step(input, &mine));
  if (gather == GatherLogits::kToRankZero) EXO_TRY(gatherLogits(mine));
  if (!mine.statistics.empty()) EXO_TRY(gatherStatistics(mine));
  if (output != nullptr) *output = mine;
  return {};
}

Status Driver::stop() {
  if (stopped_) return {};
  stopped_ = true;
  if (broken_) return *broken_;
  return broadcast({.kind = StepKind::kStop, .number = number_});
}

Status Driver::broadcast(const StepMessage& message) {
  if (mesh_ == nullptr) return {};
  encode(message, message_);
  for (int rank = 1; rank < mesh_->world(); ++rank) EXO_TRY(sendMessage(*mesh_, rank, message_, timeout_, "step message"));
  return {};
}

Status Driver::placeColumns(int rank, uint64_t begin, uint64_t columns, int64_t rows, const std::byte* data) {
  const uint64_t vocabulary = static_cast<uint64_t>(engine_.limits().vocab_size);
  if (columns > vocabulary || begin > vocabulary - columns)
    return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "rank ", rank, " sent logits [", begin, ", + ", columns, ") of a vocabulary of ", vocabulary);
  if (columns == 0) return {};
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(logits_.data() + static_cast<uint64_t>(row) * vocabulary + begin, data + static_cast<uint64_t>(row) * columns * 4, columns * 4);
  std::fill_n(covered_.begin() + static_cast<int64_t>(begin), columns, true);
  return {};
}

Status Driver::makeRoomForLogits(int64_t rows) {
  const size_t vocabulary = static_cast<size_t>(engine_.limits().vocab_size);
  try {
    logits_.assign(static_cast<size_t>(rows) * vocabulary, 0.0f);
    covered_.assign(vocabulary, false);
  } catch (const std::bad_alloc&) {
    return makeError(ErrorCode::kDoesNotFit, "no memory for ", rows, " rows of logits over a vocabulary of ", vocabulary);
  }
  return {};
}

Status Driver::gatherStatistics(StepOutput& output) {
  statistics_.assign(output.statistics.begin(), output.statistics.end());
  const uint64_t bytes = statistics_.size() * sizeof(codegen::RowStatistics);
  const int world = mesh_ == nullptr ? 1 : mesh_->world();
  for (int rank = 1; rank < world; ++rank) {
    EXO_TRY(receiveMessage(*mesh_, rank, message_, bytes, timeout_, timeout_, "statistics"));
    if (message_.size() != bytes)
      return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "rank ", rank, " sent ", message_.size(), " bytes that are not the statistics of ", statistics_.size(), " rows");
    for (size_t row = 0; row < statistics_.size(); ++row) {
      codegen::RowStatistics theirs;
      std::memcpy(&theirs, message_.data() + row * sizeof(theirs), sizeof(theirs));
      statistics_[row].merge(theirs);
    }
  }
  output.statistics = statistics_;
  return {};
}

Status Driver::gatherLogits(const StepOutput& output) {
  const uint64_t vocabulary = static_cast<uint64_t>(engine_.limits().vocab_size);
  const uint64_t rows = static_cast<uint64_t>(output.rows);
  EXO_TRY(placeColumns(0, engine_.program().logits_begin(), static_cast<uint64_t>(output.logits_columns), output.rows,
                       reinterpret_cast<const std::byte*>(output.logits.data())));
  const int world = mesh_ == nullptr ? 1 : mesh_->world();
  for (int rank = 1; rank < world; ++rank) {
    EXO_TRY(receiveMessage(*mesh_, rank, message_, sizeof(LogitsHeader) + 4 * rows * vocabulary, timeout_, timeout_, "logits"));
    LogitsHeader header;
    if (message_.size() >= sizeof(header)) std::memcpy(&header, message_.data(), sizeof(header));
    if (message_.size() < sizeof(header) || header.rows != rows || header.columns > vocabulary ||
        message_.size() != sizeof(header) + 4 * rows * header.columns)
      return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "rank ", rank, " sent ", message_.size(), " bytes that are not ", rows, " rows of logits");
    EXO_TRY(placeColumns(rank, header.begin, header.columns, output.rows, message_.data() + sizeof(header)));
  }
  const auto missing = std::find(covered_.begin(), covered_.end(), false);
  if (missing == covered_.end()) return {};
  return makeError(ErrorCode::kMismatch, ErrorScope::kJob, "no rank has the logits of token ", missing - covered_.begin());
}

}  // namespace exo::runtime
