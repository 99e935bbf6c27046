// A request that was taken, until its end: what lists show of it, and what becomes of its tokens. The batcher's listener.
// Threads: the batcher's calls; status() and begun() from any.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "executor/serve/answer_text.h"
#include "executor/serve/batcher.h"
#include "executor/serve/completion.h"

namespace exo::serve {

class LiveRequest : public TokenListener {
 public:
  LiveRequest(std::string label, const TokenRequest& request)
      : label_(std::move(label)), arrived_(request.arrived), prompt_tokens_(static_cast<int64_t>(request.prompt.size())), priority_(request.priority) {}

  RequestStatus status(RequestId id, Clock::time_point now) const;
  bool begun() const { return processed_ > 0; }
  /// Called at the end, before whoever asked hears of it.
  void onEnd(std::function<void()> ended) { ended_ = std::move(ended); }

  void progress(const PromptProgress& progress) override;
  bool token(const Choice& choice) override;
  void end(const TokenEnd& end) override;

 private:
  const std::string label_;
  const Clock::time_point arrived_;
  const int64_t prompt_tokens_;
  const int priority_;
  std::function<void()> ended_;
  std::atomic<int64_t> cached_ = 0, processed_ = 0, generated_ = 0;
};

/// A dialect's: text and log-probabilities for its sink.
class TextRequest final : public LiveRequest {
 public:
  TextRequest(std::string label, const TokenRequest& tokens, AnswerText text, const tokenizer::Tokenizer* tokenizer, std::shared_ptr<CompletionSink> sink)
      : LiveRequest(std::move(label), tokens), tokenizer_(tokenizer), text_(std::move(text)), sink_(std::move(sink)) {}

  void progress(const PromptProgress& progress) override;
  bool token(const Choice& choice) override;
  void end(const TokenEnd& end) override;

 private:
  TokenLogprob describe(const ScoredToken& token) const;
  void give(CompletionChunk chunk);

  const tokenizer::Tokenizer* tokenizer_;   // may be null; the model's
  AnswerText text_;
  std::shared_ptr<CompletionSink> sink_;
};

/// The control service's: tokens for its listener.
class RawTokens final : public LiveRequest {
 public:
  RawTokens(std::string label, const TokenRequest& request, std::shared_ptr<TokenListener> listener)
      : LiveRequest(std::move(label), request), listener_(std::move(listener)) {}

  void progress(const PromptProgress& progress) override;
  bool token(const Choice& choice) override;
  Status promptLogits(int64_t first, std::span<const float> logits) override { return listener_->promptLogits(first, logits); }
  void end(const TokenEnd& end) override;

 private:
  std::shared_ptr<TokenListener> listener_;
};

}  // namespace exo::serve
