// Between those who ask for text and the engine that makes it. A dialect (HTTP or control plane) turns its request into a CompletionRequest and submits
// it with a sink; the engine calls the sink with what comes. Nothing here knows HTTP or JSON, and a scripted fake is enough to
// test a dialect.
//
//   submit(request, sink) ─► Refusal                                      nothing was kept, the sink is never called
//                         └► RequestId; then, from the engine's thread:   progress*  chunk*  end
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "executor/serve/metrics.h"
#include "executor/serve/model_vocabulary.h"
#include "executor/serve/sampling.h"
#include "executor/serve/token_constraint.h"
#include "frontend/config/stored_model.h"
#include "frontend/template/chat_template.h"
#include "frontend/tokenizer/tokenizer.h"
#include "ir/base/result.h"

namespace exo::serve {

/// One answer to one prompt. Several answers (n) are several requests with different seeds: they share the prompt's pages.
struct CompletionRequest {
  std::string label;                           // for lists and logs ("chatcmpl-…"); not interpreted
  std::vector<int32_t> prompt;                 // at least one token, at most context_length
  SamplingParameters sampling;
  std::optional<int64_t> max_tokens;           // at least 0; none: until the context's end. 0: the prompt is computed, nothing chosen
  int64_t min_tokens = 0;                      // tokens that end the answer are not chosen before this many
  std::vector<int32_t> stop_ids;               // besides the model's end-of-sequence ids; the one that came is not part of the answer
  bool ignore_eos = false;                     // the model's end-of-sequence ids do not end the answer and are part of it
  std::vector<std::string> stop_strings;       // not empty, valid UTF-8; neither they nor the beginning of one that came reach a sink
  bool special_text = false;                   // whether special tokens leave their names in the text
  std::optional<int> logprobs;                 // log-probabilities of each token and of this many alternatives, 0 to kMaxLogprobs
  std::shared_ptr<TokenConstraint> constraint; // belongs to this request alone; may be null
  int priority = 0;                            // [-100, 100], larger goes first; one unit is worth kPriorityAge of waiting
};
constexpr int kMaxLogprobs = 20;
constexpr std::chrono::seconds kPriorityAge{10};

struct TokenLogprob {
  int32_t id = 0;
  std::string bytes;                           // the token's own; need not be valid UTF-8 by themselves
  float logprob = 0;                           // of the model's own distribution: before penalties, constraint and temperature
};

/// A token of the answer.
struct GeneratedToken {
  TokenLogprob token;                          // logprob: 0 unless asked for
  std::vector<TokenLogprob> alternatives;      // as many as asked for, likeliest first; the token itself may be one of them
};

/// Text that will not change any more, and the tokens of which it is the end. Text is valid UTF-8; the texts of all chunks are the answer. A token comes when
/// all its text has: characters may need several tokens, and what may begin a stop string waits. Tokens wholly in a stop
/// string never come. The last chunk may have text without tokens.
struct CompletionChunk {
  std::string text;
  std::vector<GeneratedToken> tokens;
};

/// How far the prompt is: at least once before the first chunk, and after every step that took a part of it.
struct PromptProgress {
  int64_t total = 0, cached = 0, processed = 0;   // tokens; processed counts the cached ones
};

enum class FinishReason {
  kStop,        // an end-of-sequence id or stop id
  kStopString,
  kLength,      // max_tokens, or the context's end
  kCancelled,   // by cancel()
  kError
};
const char* name(FinishReason reason);

struct CompletionUsage {
  int64_t prompt_tokens = 0;                   // as submitted
  int64_t cached_tokens = 0;                   // of those, taken from an earlier request's pages
  int64_t generated_tokens = 0;                // chosen; the id that stopped counts, a stop string's tokens do
};

struct CompletionTimings {
  std::chrono::nanoseconds queued{0};          // submit → first step
  std::chrono::nanoseconds prompt{0};          // first step → first token
  std::chrono::nanoseconds generation{0};      // first token → last
};

struct CompletionEnd {
  FinishReason reason = FinishReason::kStop;
  std::string stop_string;                     // kStopString: which
  std::optional<int32_t> stop_id;              // kStop: which
  std::optional<Error> error;                  // kError; scope kRequest: this one alone, others: the engine has ended
  CompletionUsage usage;
  CompletionTimings timings;
};

/// Called by the engine's thread, one call at a time, and maybe before submit() has returned. Returns at once: whoever has to
/// wait for a slow reader queues, bounds the queue, and cancels what overflows. May call any function of the engine.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  virtual void progress(const PromptProgress&) {}
  virtual void chunk(CompletionChunk chunk) = 0;
  /// Exactly once, the last call.
  virtual void end(CompletionEnd end) = 0;
};

/// Why a request was not taken.
struct Refusal {
  enum class Reason {
    kInvalid,         // a parameter out of range
    kPromptTooLong,   // for the context; both numbers are below
    kQueueFull,       // try again after retry_after
    kStopping,        // the engine drains or has stopped
    kFailed           // the engine has ended with an error
  };
  Reason reason = Reason::kInvalid;
  std::string message;
  std::chrono::milliseconds retry_after{0};
  int64_t prompt_tokens = 0, context_length = 0;
};

using RequestId = uint64_t;   // unique in the engine's life, ascending in order of arrival

struct ModelInfo {
  std::string name;
  int64_t context_length = 0;                                    // tokens of prompt and answer together
  int64_t vocab_size = 0;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;         // null: the model has none on disk; texts are empty then
  std::shared_ptr<const ChatTemplate> chat_template;             // null: the model has none
  std::vector<int32_t> eos_ids;
  std::optional<int32_t> bos_id;
  SharedVocabulary vocabulary;                                   // valid where there is a tokenizer
  std::optional<StoredModel> stored;                             // its files; none: made-up weights, or they are elsewhere
  std::string encoding;                                          // in which most weights are held: "Q8", "Q4", "BF16", …
  int64_t parameters = 0;                                        // 0: not known
  int64_t memory_bytes = 0;                                      // of all nodes together, as planned
  int64_t num_nodes = 1;
};

enum class EngineState { kLoading, kServing, kDraining, kStopped, kFailed };
const char* name(EngineState state);

/// One request as lists show it.
struct RequestStatus {
  RequestId id = 0;
  std::string label;
  enum class State { kWaiting, kPrefilling, kDecoding } state = State::kWaiting;
  int64_t prompt_tokens = 0, cached_tokens = 0, processed_tokens = 0, generated_tokens = 0;
  int priority = 0;
  std::chrono::nanoseconds age{0};                               // since submit
};

/// All functions: any thread, and quick (submit does not wait for a step).
class CompletionEngine {
 public:
  virtual ~CompletionEngine() = default;
  virtual std::variant<RequestId, Refusal> submit(CompletionRequest request, std::shared_ptr<CompletionSink> sink) = 0;
  /// Ends the request before its next step, with kCancelled. Nothing for one that has ended or is unknown.
  virtual void cancel(RequestId id) = 0;

  virtual const ModelInfo& model() const = 0;                    // the same for the engine's life
  virtual EngineState state() const = 0;
  virtual Metrics metrics() const = 0;
  virtual std::vector<RequestStatus> requests() const = 0;       // waiting and running, by arrival
};

}  // namespace exo::serve
