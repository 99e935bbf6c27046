// An engine's stand-in: tokens count up from the prompt's last, and it fails when told to.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "executor/cluster/run.h"
#include "executor/transport/listener.h"

namespace exo::cluster {

// First prompt tokens with a meaning.
inline constexpr int32_t kBadRequest = 9001;     // an error of the request alone
inline constexpr int32_t kBrokenEngine = 9002;   // an error of rank 0's engine
inline constexpr int32_t kNumLogits = 600'000;   // columns: more than one chunk

class FakeWorker : public Worker {
 public:
  FakeWorker(StopSignal& stop, std::chrono::milliseconds token_time) : stop_(stop), token_time_(token_time) {}

  Result<std::string> openDataEndpoint(const std::string& host) override {
    return transport::Endpoint{host, 4711, "boot", "unix"}.text();
  }
  Status load(const Session& session, const Progress& progress) override {
    session_ = session;
    progress(1, 2);
    progress(2, 2);
    return {};
  }
  uint64_t memoryBytes() const override { return 1234; }
  EngineReport report() const override { return {EngineReport::Memory{1000, 200, 30, 4}, {{.to = 0, .transport = "tcp", .why = "fake", .sent_bytes = 77}}}; }
  Status follow() override {
    const auto start = std::chrono::steady_clock::now();
    while (!stop_.requested()) {
      stop_.waitFor(std::chrono::milliseconds(5));
      if (break_after.count() > 0 && std::chrono::steady_clock::now() - start > break_after) {
        return makeError(ErrorCode::kIo, ErrorScope::kRank, "the fake engine broke in layers.3");
      }
    }
    return makeError(ErrorCode::kCancelled, "told to stop");
  }
  Result<uint64_t> submit(std::shared_ptr<GenerateJob> job) override {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    return ++submitted_;
  }
  void cancel(uint64_t) override {}   // seen in the job
  ServeCounts counts() const override { return {.tokens = tokens_}; }
  /// One job after the other.
  Status serve() override {
    while (!stop_.requested()) {
      const std::shared_ptr<GenerateJob> job = front();
      if (job == nullptr) {
        stop_.waitFor(std::chrono::milliseconds(1));
        continue;
      }
      const Result<GenerateStats> result = generate(*job);
      if (!result.ok() && result.error().scope() != ErrorScope::kRequest) return result.error();
      job->finish(result);
      const std::lock_guard lock(mutex_);
      jobs_.pop_front();
    }
    return {};
  }
  void finish(const Error& error) override {
    const std::lock_guard lock(mutex_);
    for (const auto& job : jobs_) job->finish(error);
  }

  std::chrono::milliseconds break_after{0};  // follow() fails then; 0: never
  const Session& session() const { return session_; }

 private:
  std::shared_ptr<GenerateJob> front() {
    const std::lock_guard lock(mutex_);
    return jobs_.empty() ? nullptr : jobs_.front();
  }

  Result<GenerateStats> generate(GenerateJob& job) {
    const GenerateRequest& request = job.request();
    if (request.prompt[0] == kBadRequest) return invalid("this prompt is refused");
    if (request.prompt[0] == kBrokenEngine) return makeError(ErrorCode::kIo, ErrorScope::kRank, "rank 0's fake engine broke");
    if (request.want_logits) {
      std::vector<float> row(kNumLogits);
      for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i);
      EXO_TRY(job.logits(0, 0, kNumLogits, row));
    }
    GenerateStats stats{.prompt_tokens = static_cast<int64_t>(request.prompt.size())};
    for (int64_t i = 1; i <= request.max_tokens; ++i) {
      if (stop_.waitFor(token_time_)) return makeError(ErrorCode::kCancelled, ErrorScope::kLink, "stopped in a step");
      if (job.cancelled()) {
        stats.reason = FinishReason::kCancelled;
        return stats;
      }
      EXO_TRY(job.token(request.prompt.back() + static_cast<int32_t>(i)));
      ++stats.generated_tokens;
      ++tokens_;
    }
    return stats;
  }

  StopSignal& stop_;
  std::chrono::milliseconds token_time_;
  Session session_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<GenerateJob>> jobs_;   // the first is being carried out
  uint64_t submitted_ = 0;
  std::atomic<uint64_t> tokens_ = 0;
};

/// The options of rank `rank` of nodes "a", "b", "c", ... with everything that must agree made up.
inline NodeOptions fakeNode(uint32_t rank, uint32_t world, const Address& listen, const Address& coordinator) {
  NodeOptions options;
  options.roster.plan_hash = std::string(32, '\x11');
  options.roster.weights = "checkpoint";
  for (uint32_t each = 0; each < world; ++each) {
    options.roster.nodes.push_back({std::string(1, static_cast<char>('a' + each)), std::string(32, static_cast<char>(each))});
  }
  options.info = {options.roster.nodes[rank].name, rank, world, "fake", options.roster.plan_hash};
  options.listen = listen;
  options.coordinator = coordinator;
  return options;
}

}  // namespace exo::cluster
