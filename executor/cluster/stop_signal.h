// Why and when this process ends: an orderly stop with a reason, or a failure. The first cause wins.
// Threads: any.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>

#include "ir/base/result.h"

namespace exo::cluster {

class StopSignal {
 public:
  using Callback = std::function<void()>;

  /// While it lives the callback may run; its destructor waits for one that is running.
  class Subscription {
   public:
    Subscription(StopSignal* signal, std::list<Callback>::iterator callback) : signal_(signal), callback_(callback) {}
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;
    ~Subscription();

   private:
    StopSignal* signal_;
    std::list<Callback>::iterator callback_;
  };

  /// Orderly: the process ends with success. `reason` is for people: "interrupted", "asked by a client".
  void stop(const std::string& reason);
  void fail(Error error);

  bool requested() const { return flag_; }
  /// Turns true once; for what waits on memory (transport, collectives).
  const std::atomic<bool>& flag() const { return flag_; }
  /// Empty before a stop and after an orderly one.
  std::optional<Error> error() const;
  std::string reason() const;

  /// True when the stop was requested.
  bool waitFor(std::chrono::milliseconds timeout) const;

  /// `callback` is called once, in the thread that stops or fails first (at once when that has happened already). It must
  /// not block long, and must not subscribe or unsubscribe.
  [[nodiscard]] Subscription onStop(Callback callback);

 private:
  void end(std::string reason, std::optional<Error> error);

  mutable std::mutex mutex_;  // reason_, error_ and the change of flag_
  mutable std::condition_variable changed_;
  std::atomic<bool> flag_ = false;
  std::string reason_;
  std::optional<Error> error_;
  std::mutex callbacks_mutex_;  // held while callbacks run
  std::list<Callback> callbacks_;
  bool called_ = false;
};

}  // namespace exo::cluster
