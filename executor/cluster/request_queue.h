// Requests on their way from the connections that ask to the one thread that runs the engine, and events on their way back.
// Both directions are bounded: requests by number, events by bytes with a bounded wait for a client that does not read.
// Threads: any; one producer and one consumer per job.
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

/// One request. Produced into by the engine's thread (the sink), consumed by the connection's.
class GenerateJob : public GenerateSink {
 public:
  explicit GenerateJob(GenerateRequest request) : request_(std::move(request)) {}

  const GenerateRequest& request() const { return request_; }

  /// kCancelled once the client has gone; kTimeout when it does not take its events.
  Status token(int32_t id) override;
  Status logits(int64_t position, int64_t column_begin, int64_t columns, std::span<const float> values) override;
  /// The last event; later ones are dropped.
  void finish(const Result<GenerateStats>& result);

  /// The next event; empty when there is none within `timeout`.
  std::optional<wire::GenerateEvent> next(std::chrono::milliseconds timeout);
  void cancel();
  const std::atomic<bool>& cancelled() const { return cancelled_; }

 private:
  Status push(wire::GenerateEvent event);

  GenerateRequest request_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<wire::GenerateEvent> events_;
  size_t event_bytes_ = 0;
  bool finished_ = false;
};

class RequestQueue {
 public:
  /// kDoesNotFit when too many wait already; after close() its error.
  Result<std::shared_ptr<GenerateJob>> submit(GenerateRequest request);
  /// The oldest waiting request that was not cancelled; empty after `timeout`. It counts as running until done().
  std::shared_ptr<GenerateJob> take(std::chrono::milliseconds timeout);
  void done();
  /// Waiting requests and all later ones get `error`.
  void close(const Error& error);

  uint32_t waiting() const;
  uint32_t running() const { return running_; }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<GenerateJob>> waiting_;
  std::atomic<uint32_t> running_ = 0;
  std::optional<Error> closed_;
};

}  // namespace exo::cluster
