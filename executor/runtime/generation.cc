#include "executor/runtime/generation.h"

#include <algorithm>
#include <chrono>

namespace exo::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

bool cancelled(const GenerationRequest& request) { return request.cancel != nullptr && request.cancel->load(std::memory_order_relaxed); }

bool isStop(const GenerationRequest& request, int32_t token) {
  return std::find(request.stop_ids.begin(), request.stop_ids.end(), token) != request.stop_ids.end();
}

}  // namespace

const char* name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
  }
  return "unknown";
}

/// One request's place in the cache: positions [0, length) are computed.
struct Generator::Sequence {
  uint64_t id;
  int64_t length = 0;
  int32_t next = 0;          // chosen, and not yet fed
};

Generator::Generator(Driver& driver)
    : driver_(driver), cache_(driver.engine().limits().num_pages, driver.engine().limits().page_tokens, driver.engine().limits().max_context) {}

Result<GenerationResult> Generator::generate(const GenerationRequest& request) {
  EXO_TRY(check(request));
  Sequence sequence{next_sequence_++};
  Result<GenerationResult> result = run(request, sequence);
  cache_.release(sequence.id);
  return result;
}

Status Generator::check(const GenerationRequest& request) const {
  const StepLimits& limits = driver_.engine().limits();
  EXO_TRY(validate(request.sampling));
  if (request.max_tokens < 0) return invalid("max_tokens must not be negative, got ", request.max_tokens);
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) return invalid("the prompt is empty");
  if (length > limits.max_context)
    return invalid("the prompt has ", length, " tokens, the context of this model as loaded has ", limits.max_context);
  for (size_t i = 0; i < request.prompt.size(); ++i)
    if (request.prompt[i] < 0 || request.prompt[i] >= limits.vocab_size)
      return invalid("token id ", request.prompt[i], " at index ", i, " of the prompt is outside the vocabulary of ", limits.vocab_size);
  return {};
}

Result<GenerationResult> Generator::run(const GenerationRequest& request, Sequence& sequence) {
  GenerationResult result;
  const Clock::time_point begin = Clock::now();
  EXO_ASSIGN(const bool go_on, prefill(request, sequence, result));
  result.stats.prompt_tokens = sequence.length;
  result.stats.prompt_seconds = secondsSince(begin);
  if (!go_on) return result;
  const Clock::time_point first_token = Clock::now();
  EXO_TRY(decode(request, sequence, result));
  result.stats.generated_tokens = static_cast<int64_t>(result.tokens.size());
  result.stats.generation_seconds = secondsSince(first_token);
  return result;
}

/// Feeds the prompt and chooses the first token. False: nothing is to be generated.
Result<bool> Generator::prefill(const GenerationRequest& request, Sequence& sequence, GenerationResult& result) {
  const StepLimits& limits = driver_.engine().limits();
  const bool all_logits = static_cast<bool>(request.on_prompt_logits);
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  const int64_t chunk_limit = all_logits ? std::min(limits.max_tokens, limits.max_rows) : limits.max_tokens;
  EXO_TRY(cache_.reserve(sequence.id, length));
  StepOutput output;
  while (sequence.length < length) {
    if (cancelled(request)) {
      result.finish = FinishReason::kCancelled;
      return false;
    }
    const int64_t chunk = std::min(chunk_limit, length - sequence.length);
    const bool last = sequence.length + chunk == length && request.max_tokens > 0;
    batch_.clear();
    batch_.add(std::span(request.prompt).subspan(static_cast<size_t>(sequence.length), static_cast<size_t>(chunk)), sequence.length,
               cache_.pages(sequence.id), all_logits ? WantRows::kAll : last ? WantRows::kLast : WantRows::kNone);
    EXO_TRY(driver_.step(batch_.input(), all_logits ? GatherLogits::kToRankZero : GatherLogits::kNo, &output));
    if (all_logits) request.on_prompt_logits(sequence.length, driver_.logits());
    sequence.length += chunk;
  }
  if (request.max_tokens == 0) return false;
  EXO_ASSIGN(sequence.next, choose(request, sequence, output));
  return true;
}

Status Generator::decode(const GenerationRequest& request, Sequence& sequence, GenerationResult& result) {
  const StepLimits& limits = driver_.engine().limits();
  while (true) {
    if (isStop(request, sequence.next)) {
      result.finish = FinishReason::kStop;
      return {};
    }
    result.tokens.push_back(sequence.next);
    if (request.on_token) request.on_token(sequence.next);
    if (static_cast<int64_t>(result.tokens.size()) == request.max_tokens || sequence.length == limits.max_context) {
      result.finish = FinishReason::kLength;
      return {};
    }
    if (cancelled(request)) {
      result.finish = FinishReason::kCancelled;
      return {};
    }
    EXO_TRY(cache_.reserve(sequence.id, sequence.length + 1));
    batch_.clear();
    batch_.add(std::span(&sequence.next, 1), sequence.length, cache_.pages(sequence.id), WantRows::kLast);
    StepOutput output;
    EXO_TRY(driver_.step(batch_.input(), GatherLogits::kNo, &output));
    ++sequence.length;
    EXO_ASSIGN(sequence.next, choose(request, sequence, output));
  }
}

/// From the last row; the position chosen for is the sequence's length.
Result<int32_t> Generator::choose(const GenerationRequest& request, const Sequence& sequence, const StepOutput& output) const {
  EXO_CHECK(output.rows > 0);
  const size_t k = static_cast<size_t>(output.candidates), first = static_cast<size_t>(output.rows - 1) * k;
  return sampleToken(request.sampling, output.values.subspan(first, k), output.ids.subspan(first, k), driver_.engine().limits().vocab_size,
                static_cast<uint64_t>(sequence.length));
}

}  // namespace exo::runtime
