#include "executor/runtime/threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "ir/base/machine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "executor/runtime/relax.h"

namespace exo::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// Long enough to cover an all-reduce between neighbours, short enough that a lost race with another process costs less
// than a scheduler tick. The budget of a thread halves when a wait outlasts it and doubles when spinning was worth it.
constexpr int64_t kMaxSpinNs = 200'000;
constexpr int64_t kMinSpinNs = 2'000;
constexpr int kYields = 8;

int64_t nowNs() { return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count(); }

long futex(std::atomic<uint32_t>& word, int operation, uint32_t value) {
  static_assert(sizeof(word) == sizeof(uint32_t));
  return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}

/// Flush-to-zero and denormals-are-zero for its lifetime: a denormal costs a hundred cycles in some kernels.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (uint64_t{1} << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  uint64_t saved_;
#else
  FlushDenormals() {}
#endif
};

/// Processors this thread may use: first one per physical core, then the siblings. `cores` counts the former.
std::vector<int> coresFirst(int& cores) {
  std::vector<int> first, siblings;
  std::set<std::string> seen;
  for (const int processor : allowedProcessors()) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology/thread_siblings_list");
    std::string core;
    const bool known = static_cast<bool>(std::getline(file, core));
    (!known || seen.insert(core).second ? first : siblings).push_back(processor);
  }
  cores = static_cast<int>(first.size());
  first.insert(first.end(), siblings.begin(), siblings.end());
  return first;
}

}  // namespace

struct ThreadPool::Handles {
  std::vector<std::thread> threads;
};

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(const ThreadOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads)
    return invalid("threads must be in [0, ", kMaxThreads, "], got ", options.threads);
  int cores = 0;
  std::vector<int> processors = coresFirst(cores);
  const int fitting = static_cast<int>(processors.size());
  const int size = options.threads > 0 ? options.threads : std::max(1, std::min(cores, kMaxThreads));
  const bool oversubscribed = size > fitting;
  if (options.pin == Pin::kNo || oversubscribed) {
    processors.clear();
  } else {
    processors.resize(size);
  }
  std::unique_ptr<ThreadPool> pool(new ThreadPool(size, std::move(processors)));
  // Spinning beside threads that wait for this processor only delays them.
  pool->max_spin_ns_ = oversubscribed ? 0 : kMaxSpinNs;
  EXO_TRY(pool->start());
  return pool;
}

ThreadPool::ThreadPool(int size, std::vector<int> processors)
    : size_(size), processors_(std::move(processors)), waiters_(size), handles_(std::make_unique<Handles>()) {}

Status ThreadPool::start() {
  for (Waiter& waiter : waiters_) waiter.spin_ns = max_spin_ns_;
  handles_->threads.reserve(size_);
  for (int thread = 1; thread < size_; ++thread) {
    try {
      handles_->threads.emplace_back([this, thread] { work(thread); });
    } catch (const std::system_error& failure) {
      const int started = thread - 1;
      // Those already started wait for a barrier of size_: take the part of the missing ones.
      stopping_ = true;
      arrived_.fetch_add(size_ - 1 - started, std::memory_order_acq_rel);
      barrier(0);
      for (std::thread& worker : handles_->threads) worker.join();
      handles_->threads.clear();
      return makeError(ErrorCode::kDoesNotFit, ErrorScope::kRank, "thread ", thread, " of ", size_,
                       " could not be started: ", failure.what());
    }
  }
  return {};
}

ThreadPool::~ThreadPool() {
  if (handles_->threads.empty()) return;
  stopping_ = true;
  barrier(0);
  for (std::thread& thread : handles_->threads) thread.join();
}

void ThreadPool::work(int thread) {
  pthread_setname_np(pthread_self(), ("exo-" + std::to_string(thread)).c_str());
  if (!processors_.empty()) pinThisThread(processors_[thread]);
  FlushDenormals flush;
  while (true) {
    barrier(thread);          // run() or the destructor
    if (stopping_) return;
    entry_(context_, thread);
    barrier(thread);
  }
}

void ThreadPool::runErased(Entry entry, void* context) {
  const bool pinning = !processors_.empty() && size_ > 1;
  const std::optional<ProcessorSet> before = pinning ? ProcessorSet::ofThisThread() : std::nullopt;
  if (before) pinThisThread(processors_[0]);
  {
    FlushDenormals flush;
    entry_ = entry;
    context_ = context;
    barrier(0);
    entry(context, 0);
    barrier(0);
  }
  // Threads that the caller starts later must not inherit one processor.
  if (before) (void)before->applyToThisThread();
}

void ThreadPool::release() {
  if (size_ == 1) return;
  arrived_.store(0, std::memory_order_relaxed);
  // Sequentially consistent with parked_: either we see the sleeper, or its futex call sees the new phase.
  phase_.fetch_add(1, std::memory_order_seq_cst);
  if (parked_.load(std::memory_order_seq_cst) > 0) futex(phase_, FUTEX_WAKE, INT_MAX);
}

bool ThreadPool::arrive(int thread) {
  if (size_ == 1) return true;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) return true;
  int64_t& budget = waiters_[thread].spin_ns;
  if (budget > 0) {
    const int64_t deadline = nowNs() + budget;
    do {
      for (int i = 0; i < 32; ++i) {
        if (phase_.load(std::memory_order_acquire) != phase) {
          budget = std::min(max_spin_ns_, budget * 2);
          return false;
        }
        relax();
      }
    } while (nowNs() < deadline);
    budget = std::max(kMinSpinNs, budget / 2);
  }
  for (int i = 0; i < kYields; ++i) {
    sched_yield();
    if (phase_.load(std::memory_order_acquire) != phase) return false;
  }
  parked_.fetch_add(1, std::memory_order_seq_cst);
  while (phase_.load(std::memory_order_seq_cst) == phase) futex(phase_, FUTEX_WAIT, phase);
  parked_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

}  // namespace exo::runtime
