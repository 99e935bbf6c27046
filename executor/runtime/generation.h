// From a prompt to tokens, on rank 0: prefill in chunks of a step's size, then one token a step. One sequence at a time for
// now; sequences, pages and batches are already those of many.
// Threads: one at a time; the cancel flag of a request may be set from anywhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "executor/runtime/batch.h"
#include "executor/runtime/driver.h"
#include "executor/runtime/kv_cache.h"
#include "executor/runtime/sampler.h"
#include "ir/base/result.h"

namespace exo::runtime {

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

enum class FinishReason { kStop, kLength, kCancelled };   // a stop id; max_tokens or the context's end; the flag
const char* name(FinishReason reason);

struct GenerationStats {
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double prompt_seconds = 0;                    // prefill and the first token's choice
  double generation_seconds = 0;                // the steps after the first token
  double secondsToFirstToken() const { return prompt_seconds; }
  double promptTokensPerSecond() const { return prompt_seconds > 0 ? static_cast<double>(prompt_tokens) / prompt_seconds : 0; }
  /// Of the tokens after the first, which prefill gave.
  double tokensPerSecond() const {
    return generation_seconds > 0 && generated_tokens > 1 ? static_cast<double>(generated_tokens - 1) / generation_seconds : 0;
  }
};

struct GenerationResult {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kLength;
  GenerationStats stats;
};

class Generator {
 public:
  /// The driver outlives the generator.
  explicit Generator(Driver& driver);

  /// Errors of scope kRequest (prompt longer than the context or the cache, with numbers; parameters or ids out of range)
  /// leave everything as it was; others are the driver's and break the job. Cancelling is no error.
  Result<GenerationResult> generate(const GenerationRequest& request);

  const KvCache& cache() const { return cache_; }

 private:
  struct Sequence;
  Status check(const GenerationRequest& request) const;
  Result<bool> prefill(const GenerationRequest& request, Sequence& sequence, GenerationResult& result);
  Status decode(const GenerationRequest& request, Sequence& sequence, GenerationResult& result);
  Result<GenerationResult> run(const GenerationRequest& request, Sequence& sequence);
  Result<int32_t> choose(const GenerationRequest& request, const Sequence& sequence, const StepOutput& output) const;

  Driver& driver_;
  KvCache cache_;
  Batch batch_;
  uint64_t next_sequence_ = 0;
};

}  // namespace exo::runtime
