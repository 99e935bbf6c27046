// One prompt at a time, to its end, in the caller's thread: for tools and tests that want no server. A thin use of the batcher.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "executor/serve/batcher.h"

namespace exo::serve {

struct GenerationRequest {
  std::vector<int32_t> prompt;                  // at least one token
  SamplingParameters sampling;
  int64_t max_tokens = 0;                       // 0: none, for the prompt's logits alone
  std::vector<int32_t> stop_ids;                // end of sequence; a stop token is not part of the result
  const std::atomic<bool>* cancel = nullptr;    // looked at before every step
  std::function<void(int32_t token)> on_token;  // as soon as a token is chosen, stop tokens excepted
  /// If set: called during prefill with the logits [n, vocab_size] of the positions first, first + 1, ...; the view is valid
  /// in the call only. Makes prefill slower: the head is computed for every token.
  std::function<void(int64_t first, std::span<const float> logits)> on_prompt_logits;
};

struct GenerationResult {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kLength;
  CompletionUsage usage;
  CompletionTimings timings;
};

class Generator {
 public:
  /// The runner outlives the generator.
  explicit Generator(runtime::StepRunner& runner) : limits_(runner.limits()), batcher_(runner) {}

  /// Errors of scope kRequest (prompt longer than the context or the cache, with numbers; parameters or ids out of range)
  /// leave everything as it was; others are the runner's and break the job. Cancelling is no error.
  Result<GenerationResult> generate(const GenerationRequest& request);

  const PageCache& pages() const { return batcher_.scheduler().pages(); }

 private:
  const runtime::StepLimits limits_;
  Batcher batcher_;
  uint64_t next_id_ = 0;
};

}  // namespace exo::serve
