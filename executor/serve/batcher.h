// Runs sequences together, step by step: the scheduler says which tokens, the runner computes them on all ranks, a sampler per sequence chooses, and
// listeners hear of it. Token ids in, token ids out; text is answer_text.h's.
// Threads: one at a time. Time comes from the clock given, which only measures and limits prompts' parts of steps: what is
// chosen does not depend on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "executor/runtime/batch.h"
#include "executor/runtime/step_runner.h"
#include "executor/serve/chunk_policy.h"
#include "executor/serve/completion.h"
#include "executor/serve/metrics.h"
#include "executor/serve/sampler.h"
#include "executor/serve/scheduler.h"
#include "ir/base/result.h"

namespace exo::serve {

using Clock = std::chrono::steady_clock;

struct TokenRequest {
  std::vector<int32_t> prompt;
  SamplingParameters sampling;                 // with a seed
  int64_t max_tokens = 0;                      // 0: the prompt alone
  int64_t min_tokens = 0;
  std::vector<int32_t> stop_ids;
  std::optional<int> logprobs;
  std::shared_ptr<TokenConstraint> constraint;
  int priority = 0;
  bool prompt_logits = false;                  // every position's, for the listener
  Clock::time_point arrived;
};

/// How a sequence ended, and what it took.
struct TokenEnd {
  FinishReason reason = FinishReason::kLength;
  std::optional<int32_t> stop_id;
  std::optional<Error> error;
  CompletionUsage usage;
  CompletionTimings timings;
};

/// Called from step() and endAll().
class TokenListener {
 public:
  virtual ~TokenListener() = default;
  virtual void progress(const PromptProgress&) {}
  /// A token of the answer. false: it ends here, with kStopString.
  virtual bool token(const Choice& choice) = 0;
  /// Logits [n, vocab_size] of the prompt's positions first, first + 1, ...; the view is valid in the call. An error ends the sequence.
  virtual Status promptLogits(int64_t, std::span<const float>) { return {}; }
  /// The last call.
  virtual void end(const TokenEnd& end) = 0;
};

/// Whether the request can be run at all: kInvalidInput with the numbers.
Status check(const TokenRequest& request, const runtime::StepLimits& limits);

class Batcher {
 public:
  using Now = std::function<Clock::time_point()>;
  /// `runner` outlives the batcher.
  explicit Batcher(runtime::StepRunner& runner, Now now = [] { return Clock::now(); });
  ~Batcher();

  /// `request` has passed check(). The listener is kept until its end(). Ids ascend and are the caller's.
  void add(uint64_t id, TokenRequest request, std::shared_ptr<TokenListener> listener);
  /// end(kCancelled), now. Nothing for an unknown id. Not from a listener.
  void cancel(uint64_t id);
  /// end() of every sequence: with `error`, or kCancelled.
  void endAll(const std::optional<Error>& error);

  bool idle() const { return entries_.empty(); }
  /// One step, if there is anything to run. An error is the job's: the runner is broken, the sequences are as they were.
  Status step();

  const Metrics& metrics() const { return metrics_; }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  struct Entry;
  void fill(const StepPlan& plan);
  Status run(const StepPlan& plan);
  void deliver(const StepPlan& plan);
  void deliver(Entry& entry, const StepPart& part, size_t row);
  Status deliverPromptLogits(Entry& entry, const StepPart& part, size_t row);
  void choose(Entry& entry, size_t row);
  void append(Entry& entry, const Choice& choice);
  void mask(Entry& entry);
  void end(Entry& entry, FinishReason reason, std::optional<Error> error = std::nullopt);
  void measure(const StepPlan& plan);
  void updateGauges();

  runtime::StepRunner& runner_;
  Now now_;
  runtime::StepLimits limits_;
  Scheduler scheduler_;
  ChunkPolicy policy_;
  Metrics metrics_;
  std::map<uint64_t, std::unique_ptr<Entry>> entries_;

  // Of the step that is being made; kept for their memory.
  runtime::Batch batch_;
  std::vector<codegen::RowControl> controls_;
  std::vector<codegen::LogitEdit> edits_;
  std::vector<uint32_t> masks_;
  bool controlled_ = false;
  runtime::StepOutput output_;
  Clock::time_point step_began_, step_ended_;
};

}  // namespace exo::serve
