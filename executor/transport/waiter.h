// Bounded waiting for memory to change: spin, then yield the processor, then sleep in short naps.
// Spinning keeps microsecond latency, yielding lets ranks that share one core progress, naps keep an idle rank off the CPU.
#pragma once

#include <atomic>
#include <chrono>

namespace exo::transport {

class Waiter {
 public:
  enum class Verdict { kGoOn, kCheckPeers, kTimeout, kCancelled };

  /// `cancel` may be null.
  Waiter(std::chrono::milliseconds timeout, const std::atomic<bool>* cancel);

  /// After a fruitless look. kCheckPeers about every 200 us: time for what costs a system call.
  Verdict pause();
  /// After a fruitful one: spins again. The deadline stays.
  void restart();

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point deadline_;
  Clock::time_point idle_since_;
  Clock::time_point next_check_;
  const std::atomic<bool>* cancel_;
  Clock::duration spin_;
  bool idle_ = false;
};

}  // namespace exo::transport
