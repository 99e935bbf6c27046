// An engine that says what a test tells it to, one piece of text per token, with a thread for each request.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "executor/serve/completion.h"

namespace exo::serve::testing {

struct Script {
  std::vector<std::string> pieces;            // one token each
  bool endless = false;                       // repeats the pieces until it is cancelled
  std::chrono::milliseconds before{0};        // the first token
  std::chrono::milliseconds every{0};         // between tokens
  FinishReason reason = FinishReason::kStop;
  std::optional<Error> error = std::nullopt;  // kError
  std::optional<Refusal> refusal = std::nullopt;
  bool improvises = false;                    // a request with a constraint: any tokens it allows, until it may end
};

class ScriptedEngine final : public CompletionEngine {
 public:
  explicit ScriptedEngine(ModelInfo model) : model_(std::move(model)) {}
  ~ScriptedEngine() override;

  /// Called for each request, from any thread.
  void answerWith(std::function<Script(const CompletionRequest&)> script);
  void setState(EngineState state) { state_ = state; }
  /// Of all requests so far, in order of arrival.
  std::vector<CompletionRequest> submitted() const;
  /// Waits until so many requests have ended because they were cancelled.
  bool waitForCancelled(uint64_t count, std::chrono::milliseconds patience);

  std::variant<RequestId, Refusal> submit(CompletionRequest request, std::shared_ptr<CompletionSink> sink) override;
  void cancel(RequestId id) override;
  const ModelInfo& model() const override { return model_; }
  EngineState state() const override { return state_; }
  Metrics metrics() const override;
  std::vector<RequestStatus> requests() const override { return {}; }

 private:
  struct Run {
    CompletionRequest request;
    std::shared_ptr<CompletionSink> sink;
    bool cancelled = false;
    std::thread thread;
  };
  void play(Run& run, const Script& script);
  void improvise(Run& run, CompletionEnd& end);
  bool recite(Run& run, const Script& script, CompletionEnd& end);
  bool pause(Run& run, std::chrono::milliseconds time);

  const ModelInfo model_;
  std::atomic<EngineState> state_{EngineState::kServing};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<Script(const CompletionRequest&)> script_;
  std::vector<CompletionRequest> submitted_;
  std::map<RequestId, std::unique_ptr<Run>> runs_;
  uint64_t cancelled_ = 0;
};

/// Byte-level tokenizer of tests/data/tokenizer_qwen, and a template; context of 1000 tokens.
ModelInfo testModel(const std::string& chat_template);

inline constexpr const char* kPlainTemplate =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Tools in Hermes' form, and reasoning.
inline constexpr const char* kToolTemplate =
    "{% if tools %}tools in <tool_call>:{% for t in tools %}{{ t | tojson }}{% endfor %}\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}";

}  // namespace exo::serve::testing
