// A model's stand-in that keeps its "KV cache" in pages, as the real one does: the logits after a token are a hash of all tokens that the
// pages say come before it. A page shared wrongly, lost or not computed gives another answer.
#pragma once

#include <functional>
#include <vector>

#include "codegen/logits.h"
#include "executor/runtime/step_runner.h"

namespace exo::serve::testing {

class FakeRunner final : public runtime::StepRunner {
 public:
  static constexpr int64_t kCandidates = 8;

  explicit FakeRunner(const runtime::StepLimits& limits) : limits_(limits), kv_(static_cast<size_t>(limits.num_pages * limits.page_tokens), -1) {}

  const runtime::StepLimits& limits() const override { return limits_; }
  Status step(const runtime::StepInput& input, runtime::GatherLogits gather, runtime::StepOutput* output) override;
  std::span<const float> logits() const override { return gathered_; }

  /// The likeliest token after these, and the logit of any.
  int32_t next(const std::vector<int32_t>& tokens) const;
  float logit(uint64_t hash, int32_t id) const;
  static uint64_t hashOf(std::span<const int32_t> tokens);

  std::function<Status()> before_step;      // may fail it; may be empty
  int64_t steps = 0, tokens = 0, largest_step = 0;

 private:
  runtime::StepLimits limits_;
  std::vector<int32_t> kv_;                 // token by page and slot
  std::vector<float> values_, gathered_;
  std::vector<int32_t> ids_;
  std::vector<codegen::RowStatistics> statistics_;
};

}  // namespace exo::serve::testing
