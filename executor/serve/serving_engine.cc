#include "executor/serve/serving_engine.h"

#include <algorithm>
#include <random>

#include "frontend/tokenizer/utf8.h"

namespace exo::serve {
namespace {

uint64_t freshSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

Status checkText(const CompletionRequest& request) {
  if (request.max_tokens && *request.max_tokens < 0) return invalid("max_tokens must not be negative, got ", *request.max_tokens);
  for (const std::string& stop : request.stop_strings)
    if (stop.empty() || tokenizer::firstInvalidUtf8(stop)) return invalid("a stop string is ", stop.empty() ? "empty" : "not valid UTF-8");
  return {};
}

TokenRequest tokensOf(CompletionRequest request, const ModelInfo& model) {
  TokenRequest tokens{.prompt = std::move(request.prompt), .sampling = std::move(request.sampling)};
  tokens.max_tokens = request.max_tokens.value_or(model.context_length);
  tokens.min_tokens = request.min_tokens;
  tokens.stop_ids = std::move(request.stop_ids);
  if (!request.ignore_eos) tokens.stop_ids.insert(tokens.stop_ids.end(), model.eos_ids.begin(), model.eos_ids.end());
  tokens.logprobs = request.logprobs;
  tokens.constraint = std::move(request.constraint);
  tokens.priority = request.priority;
  return tokens;
}

constexpr std::chrono::milliseconds kShortestRetry{1000}, kLongestRetry{60'000};

}  // namespace

ServingEngine::ServingEngine(ModelInfo model, const runtime::StepLimits& limits, ServingOptions options)
    : model_(std::move(model)), limits_(limits), options_(options) {}
ServingEngine::~ServingEngine() = default;

std::variant<RequestId, Refusal> ServingEngine::submit(CompletionRequest request, std::shared_ptr<CompletionSink> sink) {
  if (Status status = checkText(request); !status.ok()) return refuse({.reason = Refusal::Reason::kInvalid, .message = status.error().message()});
  const tokenizer::SkipSpecial skip = request.special_text ? tokenizer::SkipSpecial::kNo : tokenizer::SkipSpecial::kYes;
  AnswerText text(model_.tokenizer.get(), skip, std::move(request.stop_strings));
  std::string label = std::move(request.label);
  TokenRequest tokens = tokensOf(std::move(request), model_);
  tokens.arrived = Clock::now();
  auto live = std::make_shared<TextRequest>(std::move(label), tokens, std::move(text), model_.tokenizer.get(), std::move(sink));
  return accept(std::move(live), std::move(tokens));
}

std::variant<RequestId, Refusal> ServingEngine::submit(std::string label, TokenRequest request, std::shared_ptr<TokenListener> listener) {
  request.arrived = Clock::now();
  auto live = std::make_shared<RawTokens>(std::move(label), request, std::move(listener));
  return accept(std::move(live), std::move(request));
}

/// What no waiting changes.
std::optional<Refusal> ServingEngine::refusalOf(const TokenRequest& tokens) const {
  const Status status = check(tokens, limits_);
  if (status.ok()) return std::nullopt;
  Refusal refusal{.reason = Refusal::Reason::kInvalid, .message = status.error().message()};
  const int64_t length = static_cast<int64_t>(tokens.prompt.size());
  if (length > limits_.max_context) refusal.reason = Refusal::Reason::kPromptTooLong;
  refusal.prompt_tokens = length;
  refusal.context_length = limits_.max_context;
  return refusal;
}

/// Under the lock.
std::optional<Refusal> ServingEngine::refusalNow() const {
  if (state_ == EngineState::kFailed) return Refusal{.reason = Refusal::Reason::kFailed, .message = "the engine has ended with an error"};
  if (draining_ || stopping_) return Refusal{.reason = Refusal::Reason::kStopping, .message = "the server is stopping"};
  const auto waiting = std::count_if(requests_.begin(), requests_.end(), [](const auto& each) { return !each.second->begun(); });
  if (waiting < options_.max_waiting) return std::nullopt;
  const auto until_free = std::chrono::milliseconds(static_cast<int64_t>(std::min(1e6, 1000 * seconds_between_ends_)));
  return Refusal{.reason = Refusal::Reason::kQueueFull,
                 .message = std::to_string(waiting) + " requests are waiting already; try again later",
                 .retry_after = std::clamp(until_free, kShortestRetry, kLongestRetry)};
}

std::variant<RequestId, Refusal> ServingEngine::refuse(Refusal refusal) {
  const std::lock_guard lock(mutex_);
  ++refused_;
  return refusal;
}

std::variant<RequestId, Refusal> ServingEngine::accept(std::shared_ptr<LiveRequest> request, TokenRequest tokens) {
  if (!tokens.sampling.seed) tokens.sampling.seed = freshSeed();
  if (std::optional<Refusal> refusal = refusalOf(tokens)) return refuse(*std::move(refusal));
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (std::optional<Refusal> refusal = refusalNow()) {
      ++refused_;
      return *std::move(refusal);
    }
    id = next_id_++;
    ++accepted_;
    request->onEnd([this, id] { ended(id); });
    requests_.emplace(id, request);
    inbox_.push_back({id, std::move(tokens), std::move(request)});
  }
  changed_.notify_all();
  return id;
}

void ServingEngine::cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    if (!requests_.contains(id)) return;
    cancelled_.push_back(id);
  }
  changed_.notify_all();
}

void ServingEngine::ended(RequestId id) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  requests_.erase(id);
  if (last_end_) seconds_between_ends_ = 0.8 * seconds_between_ends_ + 0.2 * std::chrono::duration<double>(now - *last_end_).count();
  last_end_ = now;
}

Metrics ServingEngine::metrics() const {
  const std::lock_guard lock(mutex_);
  Metrics metrics = metrics_;
  metrics.accepted = accepted_;
  metrics.refused = refused_;
  metrics.queue_capacity = options_.max_waiting;
  metrics.waiting += static_cast<int64_t>(inbox_.size());
  return metrics;
}

std::vector<RequestStatus> ServingEngine::requests() const {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  std::vector<RequestStatus> all;
  for (const auto& [id, request] : requests_) all.push_back(request->status(id, now));
  return all;
}

void ServingEngine::awaitWork(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [&] { return !batcher_->idle() || !inbox_.empty() || !cancelled_.empty() || draining_ || stopping_; });
}

/// Gives the batcher what came; without the lock, since listeners hear of ends.
void ServingEngine::takeInbox(std::unique_lock<std::mutex>& lock) {
  std::vector<Arrival> arrivals;
  std::vector<RequestId> cancelled;
  arrivals.swap(inbox_);
  cancelled.swap(cancelled_);
  lock.unlock();
  for (Arrival& arrival : arrivals) batcher_->add(arrival.id, std::move(arrival.tokens), std::move(arrival.request));
  for (const RequestId id : cancelled) batcher_->cancel(id);
}

Status ServingEngine::run(runtime::StepRunner& runner) {
  batcher_ = std::make_unique<Batcher>(runner);
  std::unique_lock lock(mutex_);
  metrics_ = batcher_->metrics();
  if (!draining_ && !stopping_) state_ = EngineState::kServing;
  while (true) {
    awaitWork(lock);
    if (stopping_) break;
    takeInbox(lock);
    const Status status = batcher_->step();
    lock.lock();
    metrics_ = batcher_->metrics();
    if (!status.ok()) {
      state_ = EngineState::kFailed;
      return status;
    }
    if (draining_ && batcher_->idle() && inbox_.empty()) break;
  }
  state_ = EngineState::kStopped;
  return {};
}

void ServingEngine::drain() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    if (state_ == EngineState::kServing) state_ = EngineState::kDraining;
  }
  changed_.notify_all();
}

void ServingEngine::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

void ServingEngine::finish(const std::optional<Error>& error) {
  stop();
  std::vector<Arrival> never_run;
  {
    const std::lock_guard lock(mutex_);
    state_ = error ? EngineState::kFailed : EngineState::kStopped;
    never_run.swap(inbox_);
  }
  if (batcher_ != nullptr) batcher_->endAll(error);
  for (const Arrival& arrival : never_run) {
    TokenEnd end{.reason = error ? FinishReason::kError : FinishReason::kCancelled, .stop_id = {}, .error = error};
    end.usage.prompt_tokens = static_cast<int64_t>(arrival.tokens.prompt.size());
    arrival.request->end(end);
  }
  if (batcher_ != nullptr) {
    const std::lock_guard lock(mutex_);
    metrics_ = batcher_->metrics();
  }
}

}  // namespace exo::serve
