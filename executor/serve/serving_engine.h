// The engine behind the interface: takes requests from any thread, runs them together in one, and turns their tokens into text.
//
//   submit, cancel (any thread) ─► inbox ─► run(): batcher, step by step ─► sinks
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "executor/serve/batcher.h"
#include "executor/serve/completion.h"
#include "executor/serve/live_request.h"

namespace exo::serve {

struct ServingOptions {
  int64_t max_waiting = 256;             // requests that are taken and have not begun; more are refused
};

class ServingEngine final : public CompletionEngine {
 public:
  /// limits: of the steps of the runner that run() will be given.
  ServingEngine(ModelInfo model, const runtime::StepLimits& limits, ServingOptions options = {});
  ~ServingEngine() override;

  std::variant<RequestId, Refusal> submit(CompletionRequest request, std::shared_ptr<CompletionSink> sink) override;
  /// The same for who wants tokens, as they come, and no text (the control service). `request.arrived` is set here.
  std::variant<RequestId, Refusal> submit(std::string label, TokenRequest request, std::shared_ptr<TokenListener> listener);
  void cancel(RequestId id) override;
  const ModelInfo& model() const override { return model_; }
  EngineState state() const override { return state_; }
  Metrics metrics() const override;
  std::vector<RequestStatus> requests() const override;

  /// Carries out requests in this thread until stop(), until drain() and the last request's end, or until the job breaks: that
  /// error is returned. What still runs then waits for finish(). `runner` outlives this. Once.
  Status run(runtime::StepRunner& runner);
  /// Refuses new requests; run() returns when those taken have ended.
  void drain();
  /// Refuses new requests; run() returns before its next step.
  void stop();
  /// After run(), by its thread, or when it was never called: ends what is left with the error, or as cancelled.
  void finish(const std::optional<Error>& error);

 private:
  struct Arrival {
    RequestId id;
    TokenRequest tokens;
    std::shared_ptr<LiveRequest> request;
  };
  std::variant<RequestId, Refusal> accept(std::shared_ptr<LiveRequest> request, TokenRequest tokens);
  std::optional<Refusal> refusalOf(const TokenRequest& tokens) const;
  std::optional<Refusal> refusalNow() const;
  std::variant<RequestId, Refusal> refuse(Refusal refusal);
  void awaitWork(std::unique_lock<std::mutex>& lock);
  void takeInbox(std::unique_lock<std::mutex>& lock);
  void ended(RequestId id);

  const ModelInfo model_;
  const runtime::StepLimits limits_;
  const ServingOptions options_;
  std::atomic<EngineState> state_ = EngineState::kLoading;
  std::unique_ptr<Batcher> batcher_;     // run()'s thread's

  mutable std::mutex mutex_;             // of what follows; never held while a sink or the batcher is called
  std::condition_variable changed_;
  bool draining_ = false, stopping_ = false;
  RequestId next_id_ = 1;
  std::vector<Arrival> inbox_;
  std::vector<RequestId> cancelled_;
  std::map<RequestId, std::shared_ptr<LiveRequest>> requests_;   // taken and not ended
  Metrics metrics_;                      // the batcher's after its last step
  uint64_t accepted_ = 0, refused_ = 0;
  double seconds_between_ends_ = 0;      // smoothed, for retry_after
  std::optional<Clock::time_point> last_end_;
};

}  // namespace exo::serve
