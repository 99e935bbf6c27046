// Rank 0's side of the step protocol: tells every rank what the step is, takes part in it, and collects the whole logits
// when somebody asked for them. One rank alone is the same without messages. The other side is follower.h.
// Threads: one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "executor/runtime/engine.h"
#include "executor/runtime/step_message.h"
#include "executor/runtime/step_runner.h"
#include "ir/base/result.h"

namespace exo::runtime {

class Driver final : public StepRunner {
 public:
  /// The engine of rank 0, and its mesh (null for one rank) with a link to every rank; both outlive the driver. `timeout`:
  /// of a message to or from a follower.
  static Result<std::unique_ptr<Driver>> create(Engine& engine, transport::Mesh* mesh, std::chrono::milliseconds timeout);

  /// One step of all ranks. kInvalidInput for an input out of range: nothing was sent then. Any other error (kPeerLost,
  /// kTimeout, kMismatch) breaks the job: every later step returns it too.
  Status step(const StepInput& input, GatherLogits gather, StepOutput* output) override;

  std::span<const float> logits() const override { return logits_; }
  const StepLimits& limits() const override { return engine_.limits(); }
  std::span<const double> peerWaits() const override { return engine_.peerWaits(); }

  /// Tells the followers to return; nothing the second time. After a broken job: its error, and nothing can be told any
  /// more; dropping the mesh is what ends followers that still wait.
  Status stop();

  Engine& engine() { return engine_; }

 private:
  Driver(Engine& engine, transport::Mesh* mesh, std::chrono::milliseconds timeout) : engine_(engine), mesh_(mesh), timeout_(timeout) {}
  Status makeRoomForLogits(int64_t rows);
  Status stepEverywhere(const StepInput& input, GatherLogits gather, StepOutput* output);
  Status broadcast(const StepMessage& message);
  Status gatherLogits(const StepOutput& output);
  Status gatherStatistics(StepOutput& output);
  Status placeColumns(int rank, uint64_t begin, uint64_t columns, int64_t rows, const std::byte* data);

  Engine& engine_;
  transport::Mesh* mesh_;
  std::chrono::milliseconds timeout_;
  uint64_t number_ = 0;
  bool stopped_ = false;
  std::optional<Error> broken_;
  std::vector<std::byte> message_;
  std::vector<float> logits_;
  std::vector<codegen::RowStatistics> statistics_;   // of the last step, all ranks' parts together
  std::vector<bool> covered_;        // per column of the vocabulary
};

/// What a follower sends for GatherLogits::kToRankZero: this header, then f32 [rows, columns].
struct LogitsHeader {
  uint64_t begin = 0, columns = 0, rows = 0;   // columns 0: this rank has no logits
};

}  // namespace exo::runtime
