#include "executor/serve/dialects/generation.h"

#include <algorithm>
#include <functional>

namespace exo::serve {
namespace {

// A stream's headers wait for the first word of the engine, so that an error has its status; but not longer than this, because
// clients give up on servers that say nothing.
constexpr std::chrono::milliseconds kHeadPatience{2000};
constexpr std::chrono::milliseconds kKeepAlive{10'000};

/// The answers to one HTTP request. Everything but submit() happens on the server's thread, where `exchange->post` puts it.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(CompletionEngine& engine, Job job, RequestContext context, std::shared_ptr<http::Exchange> exchange)
      : engine_(engine), job_(std::move(job)), context_(std::move(context)), exchange_(std::move(exchange)) {}

  void start();
  /// From the engine's thread.
  template <class Event>
  void post(size_t index, Event event) {
    exchange_->post([self = shared_from_this(), index, event = std::move(event)]() mutable {
      self->take([self = self.get(), index, event = std::move(event)]() mutable { self->on(index, std::move(event)); });
    });
  }

 private:
  void take(std::function<void()> event);
  void begun(std::vector<RequestId> ids);
  void on(size_t index, PromptProgress progress);
  void on(size_t index, CompletionChunk chunk);
  void on(size_t index, CompletionEnd end);
  void show(size_t index, AnswerPart part);
  void beginStream();
  void fail(const ApiError& error);
  void complete();

  CompletionEngine& engine_;
  Job job_;
  const RequestContext context_;
  const std::shared_ptr<http::Exchange> exchange_;
  std::vector<AnswerParser> parsers_;
  std::vector<Answer> answers_;
  std::vector<RequestId> ids_;
  bool submitted_ = false, refused_ = false, streaming_ = false, done_ = false;
  std::vector<std::function<void()>> early_;   // events of requests whose siblings may still be refused
};

class Sink final : public CompletionSink {
 public:
  Sink(std::shared_ptr<Generation> generation, size_t index) : generation_(std::move(generation)), index_(index) {}
  void progress(const PromptProgress& progress) override { generation_->post(index_, progress); }
  void chunk(CompletionChunk chunk) override { generation_->post(index_, std::move(chunk)); }
  void end(CompletionEnd end) override { generation_->post(index_, std::move(end)); }

 private:
  const std::shared_ptr<Generation> generation_;
  const size_t index_;
};

void Generation::start() {
  const size_t n = job_.requests.size();
  parsers_.assign(n, AnswerParser(job_.parser));
  answers_.resize(n);
  for (size_t i = 0; i < n; ++i) answers_[i].prompt.total = static_cast<int64_t>(job_.requests[i].prompt.size());
  std::vector<RequestId> ids;
  for (size_t i = 0; i < n; ++i) {
    auto taken = engine_.submit(std::move(job_.requests[i]), std::make_shared<Sink>(shared_from_this(), i));
    if (const auto* refusal = std::get_if<Refusal>(&taken)) {
      for (const RequestId id : ids) engine_.cancel(id);
      exchange_->post([self = shared_from_this()] { self->refused_ = true; });
      return respondError(*exchange_, context_, fromRefusal(*refusal));
    }
    ids.push_back(std::get<RequestId>(taken));
  }
  exchange_->onGone([self = shared_from_this(), ids] {
    self->done_ = true;
    for (const RequestId id : ids) self->engine_.cancel(id);
  });
  exchange_->post([self = shared_from_this(), ids = std::move(ids)]() mutable { self->begun(std::move(ids)); });
}

void Generation::begun(std::vector<RequestId> ids) {
  ids_ = std::move(ids);
  submitted_ = true;
  if (job_.stream) {
    exchange_->after(kHeadPatience, [self = weak_from_this()] {
      if (const auto generation = self.lock(); generation && !generation->done_) generation->beginStream();
    });
  }
  for (auto& event : early_) event();
  early_.clear();
}

void Generation::take(std::function<void()> event) {
  if (refused_ || done_) return;
  if (submitted_) event();
  else early_.push_back(std::move(event));
}

void Generation::on(size_t index, PromptProgress progress) { answers_[index].prompt = progress; }

void Generation::on(size_t index, CompletionChunk chunk) {
  if (done_) return;
  show(index, parsers_[index].push(std::move(chunk)));
}

void Generation::show(size_t index, AnswerPart part) {
  if (job_.stream) {
    beginStream();
    if (!part.empty()) exchange_->write(job_.reply->part(index, part));
  }
  if (!job_.keep_tokens) part.tokens.clear();
  answers_[index].part.append(std::move(part));
}

void Generation::on(size_t index, CompletionEnd end) {
  if (done_) return;
  if (end.reason == FinishReason::kError) return fail(end.error ? fromError(*end.error) : ApiError{ApiError::Kind::kFailed, "the generation failed", ""});
  if (end.reason == FinishReason::kCancelled) return fail({ApiError::Kind::kUnavailable, "the request was cancelled by the server", ""});
  show(index, parsers_[index].finish());
  Answer& answer = answers_[index];
  answer.end = std::move(end);
  answer.ended = true;
  if (job_.stream) exchange_->write(job_.reply->answerEnd(index, answer));
  if (std::all_of(answers_.begin(), answers_.end(), [](const Answer& a) { return a.ended; })) complete();
}

void Generation::beginStream() {
  if (streaming_) return;
  streaming_ = true;
  http::Response head{200, context_.headers, ""};
  head.headers.push_back({"Content-Type", job_.reply->streamType()});
  head.headers.push_back({"Cache-Control", "no-cache"});
  head.headers.push_back({"X-Accel-Buffering", "no"});
  exchange_->begin(std::move(head), kKeepAlive, [self = shared_from_this()] { return self->job_.reply->keepAlive(); });
  exchange_->write(job_.reply->begin(answers_));
}

void Generation::complete() {
  done_ = true;
  if (!job_.stream) return respondJson(*exchange_, context_, job_.reply->whole(answers_));
  exchange_->write(job_.reply->end(answers_));
  exchange_->finish();
}

void Generation::fail(const ApiError& error) {
  done_ = true;
  for (const RequestId id : ids_) engine_.cancel(id);
  if (!streaming_) return respondError(*exchange_, context_, error);
  exchange_->write(job_.reply->failure(error));
  exchange_->finish();
}

}  // namespace

void runJob(CompletionEngine& engine, Job job, RequestContext context, std::shared_ptr<http::Exchange> exchange) {
  std::make_shared<Generation>(engine, std::move(job), std::move(context), std::move(exchange))->start();
}

void respondError(http::Exchange& exchange, const RequestContext& context, const ApiError& error) {
  http::Response response = errorResponse(context.dialect, error, context.request_id);
  response.headers.insert(response.headers.end(), context.headers.begin(), context.headers.end());
  exchange.respond(std::move(response));
}

void respondJson(http::Exchange& exchange, const RequestContext& context, std::string body) {
  http::Response response = http::textResponse(200, std::move(body), "application/json");
  response.headers.insert(response.headers.end(), context.headers.begin(), context.headers.end());
  exchange.respond(std::move(response));
}

}  // namespace exo::serve
