// One request of a client between its connection and the engine: events on their way back, bounded by bytes.
// Threads: any; one producer (the engine's) and one consumer (the connection's).
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "executor/cluster/control.pb.h"
#include "executor/cluster/generation.h"
#include "ir/base/result.h"

namespace exo::cluster {

class GenerateJob : public GenerateSink {
 public:
  explicit GenerateJob(GenerateRequest request) : request_(std::move(request)) {}

  const GenerateRequest& request() const { return request_; }

  /// kCancelled once the client has gone; kTimeout when it does not take its events. Tokens never wait, others run beside this
  /// request; logits, which come in bulk, wait a bounded time for a client that reads on.
  Status token(int32_t id) override;
  Status logits(int64_t position, int64_t column_begin, int64_t columns, std::span<const float> values) override;
  /// The last event; later ones are dropped.
  void finish(const Result<GenerateStats>& result);

  /// The next event; empty when there is none within `timeout`.
  std::optional<wire::GenerateEvent> next(std::chrono::milliseconds timeout);
  void cancel();
  const std::atomic<bool>& cancelled() const { return cancelled_; }

 private:
  Status push(wire::GenerateEvent event, std::chrono::seconds patience);

  GenerateRequest request_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<wire::GenerateEvent> events_;
  size_t event_bytes_ = 0;
  bool finished_ = false;
};

}  // namespace exo::cluster
