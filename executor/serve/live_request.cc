#include "executor/serve/live_request.h"

namespace exo::serve {

RequestStatus LiveRequest::status(RequestId id, Clock::time_point now) const {
  RequestStatus status{.id = id, .label = label_, .prompt_tokens = prompt_tokens_, .cached_tokens = cached_, .processed_tokens = processed_,
                       .generated_tokens = generated_, .priority = priority_, .age = now - arrived_};
  status.state = generated_ > 0 ? RequestStatus::State::kDecoding : begun() ? RequestStatus::State::kPrefilling : RequestStatus::State::kWaiting;
  return status;
}

void LiveRequest::progress(const PromptProgress& progress) {
  cached_ = progress.cached;
  processed_ = progress.processed;
}

bool LiveRequest::token(const Choice&) {
  ++generated_;
  return true;
}

void LiveRequest::end(const TokenEnd&) {
  if (ended_) ended_();
}

void TextRequest::progress(const PromptProgress& progress) {
  LiveRequest::progress(progress);
  sink_->progress(progress);
}

TokenLogprob TextRequest::describe(const ScoredToken& token) const {
  return {token.id, tokenizer_ == nullptr ? "" : tokenizer_->tokenBytes(token.id), token.logprob};
}

void TextRequest::give(CompletionChunk chunk) {
  if (!chunk.text.empty() || !chunk.tokens.empty()) sink_->chunk(std::move(chunk));
}

bool TextRequest::token(const Choice& choice) {
  LiveRequest::token(choice);
  GeneratedToken token{.token = describe(choice.token), .alternatives = {}};
  for (const ScoredToken& alternative : choice.alternatives) token.alternatives.push_back(describe(alternative));
  give(text_.push(std::move(token)));
  return !text_.stopString();
}

void TextRequest::end(const TokenEnd& end) {
  LiveRequest::end(end);
  CompletionEnd last{.reason = end.reason, .stop_string = {}, .stop_id = end.stop_id, .error = end.error, .usage = end.usage, .timings = end.timings};
  if (!text_.stopString()) give(text_.finish());
  if (text_.stopString()) {   // maybe only now: in what was held back
    last.stop_string = *text_.stopString();
    if (end.reason == FinishReason::kStop || end.reason == FinishReason::kLength) last.reason = FinishReason::kStopString;
  }
  sink_->end(std::move(last));
}

void RawTokens::progress(const PromptProgress& progress) {
  LiveRequest::progress(progress);
  listener_->progress(progress);
}

bool RawTokens::token(const Choice& choice) {
  LiveRequest::token(choice);
  return listener_->token(choice);
}

void RawTokens::end(const TokenEnd& end) {
  LiveRequest::end(end);
  listener_->end(end);
}

}  // namespace exo::serve
