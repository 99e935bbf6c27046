// What makes the steps, to whoever decides what is in them: the driver, or a test's stand-in.
#pragma once

#include <span>

#include "executor/runtime/step.h"
#include "executor/runtime/step_message.h"
#include "ir/base/result.h"

namespace exo::runtime {

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual const StepLimits& limits() const = 0;
  /// One step of all ranks. kInvalidInput for an input out of range: nothing was done then. Any other error breaks the job.
  virtual Status step(const StepInput& input, GatherLogits gather, StepOutput* output) = 0;
  /// [rows, vocab_size] of the last step with GatherLogits::kToRankZero; valid until the next one.
  virtual std::span<const float> logits() const = 0;
  /// Seconds that rank 0 waited for each rank in all steps so far; empty where there are no others.
  virtual std::span<const double> peerWaits() const { return {}; }
};

}  // namespace exo::runtime
