#include "executor/transport/waiter.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exo::transport {
namespace {

using namespace std::chrono_literals;

constexpr auto kYieldUntil = 50ms;   // skew between ranks inside a step is far below this
constexpr auto kNap = 200us;
constexpr uint32_t kSpinsPerLook = 8;  // at the clock, which takes as long as a short message
constexpr auto kLongest = 24h * 365;  // beyond, the deadline could overflow
constexpr auto kCheckEvery = 200us;  // so that a lost peer is noticed at once and costs nothing while all goes well

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace

Waiter::Waiter(std::chrono::milliseconds timeout, const std::atomic<bool>* cancel, SpinBudget& budget)
    : timeout_(std::min<std::chrono::milliseconds>(timeout, kLongest)), cancel_(cancel), budget_(budget) {}

void Waiter::restart() {
  if (!idle_) return;
  budget_.time = spun_out_ ? std::max(budget_.time / 2, SpinBudget::kLeast) : std::min(budget_.time * 2, SpinBudget::kMost);
  idle_ = spun_out_ = false;
}

Waiter::Verdict Waiter::pause() {
  if (idle_ && !spun_out_ && ++spins_ % kSpinsPerLook != 0) {
    relax();
    return Verdict::kGoOn;
  }
  const Clock::time_point now = Clock::now();
  if (!idle_) {
    idle_ = true;
    idle_since_ = now;
    next_check_ = now + kCheckEvery;
  }
  if (!deadline_) deadline_ = now + timeout_;
  if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed)) return Verdict::kCancelled;
  if (now >= *deadline_) return Verdict::kTimeout;
  const Clock::duration idle = now - idle_since_;
  if (idle < budget_.time) {
    relax();
    return Verdict::kGoOn;
  }
  spun_out_ = true;
  if (idle < kYieldUntil) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(kNap);
  }
  if (now < next_check_) return Verdict::kGoOn;
  next_check_ = now + kCheckEvery;
  return Verdict::kCheckPeers;
}

}  // namespace exo::transport
