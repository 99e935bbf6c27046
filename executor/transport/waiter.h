// Bounded waiting for memory to change: spin, then yield the processor, then sleep in short naps.
// Spinning keeps microsecond latency, yielding lets ranks that share one core progress, naps keep an idle rank off the CPU.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace exo::transport {

/// How long it pays to spin, learnt from wait to wait: two ranks that share a core never see anything while spinning
/// (64 B all_reduce over tcp, two such ranks on a busy 2-core machine, p50: 124 us with a fixed 50 us, 28 us with this).
struct SpinBudget {
  static constexpr std::chrono::nanoseconds kLeast{2'000}, kMost{50'000};  // kMost: a few one-way times of a fast link
  std::chrono::nanoseconds time = kMost;
};

class Waiter {
 public:
  enum class Verdict { kGoOn, kCheckPeers, kTimeout, kCancelled };

  /// `cancel` may be null; `budget` outlives the waiter.
  Waiter(std::chrono::milliseconds timeout, const std::atomic<bool>* cancel, SpinBudget& budget);
  /// For a single wait, from which nothing is learnt.
  Waiter(std::chrono::milliseconds timeout, const std::atomic<bool>* cancel) : Waiter(timeout, cancel, own_budget_) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// After a fruitless look. kCheckPeers about every 200 us: time for what costs a system call.
  Verdict pause();
  /// After a fruitful one: spins again. The deadline stays.
  void restart();

 private:
  using Clock = std::chrono::steady_clock;
  std::chrono::milliseconds timeout_;
  std::optional<Clock::time_point> deadline_;  // from the first fruitless look on: one that finds all costs no look at the clock
  Clock::time_point idle_since_;
  Clock::time_point next_check_;
  const std::atomic<bool>* cancel_;
  SpinBudget own_budget_;
  SpinBudget& budget_;
  uint32_t spins_ = 0;
  bool idle_ = false;
  bool spun_out_ = false;  // the budget did not suffice for this wait
};

}  // namespace exo::transport
