// A pool of threads that walk one program together: run() starts the same body on every thread, barrier() lets them meet.
// The caller of run() is thread 0; the pool owns the others. Waiting threads spin for a short, self-adjusting time, then
// yield, then park on a futex: no processor time is used between steps, and progress needs no spinning, so the pool is
// correct (only slower) when there are more threads than processors or several pools on one.
// Threads: one run() at a time. Memory: what a thread wrote before a barrier is seen by all after it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "ir/base/result.h"

namespace exo::runtime {

enum class Pin { kNo, kYes };

struct ThreadOptions {
  int threads = 0;        // 0: one per physical core the process may use
  Pin pin = Pin::kYes;    // to distinct processors of the allowed set; not done when there are more threads than those
};

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 1024;

  /// Error kInvalidInput if threads is not in [0, kMaxThreads], kDoesNotFit if the system refuses a thread.
  static Result<std::unique_ptr<ThreadPool>> create(const ThreadOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Runs body(thread) on every thread, thread 0 being the caller, with denormals flushed to zero; returns when all have
  /// returned. The body must not throw. Affinity and MXCSR of the caller are as before afterwards.
  template <class Body>
  void run(Body&& body) {
    using B = std::remove_reference_t<Body>;
    runErased([](void* context, int thread) { (*static_cast<B*>(context))(thread); }, const_cast<std::remove_const_t<B>*>(&body));
  }

  /// Inside run(): returns when all threads have called it as often. The thread that comes last runs `alone` before any
  /// of them goes on: what one thread can do in less than a barrier takes needs none of its own.
  template <class Alone>
  void barrier(int thread, Alone&& alone) {
    if (!arrive(thread)) return;
    alone();
    release();
  }
  void barrier(int thread) {
    barrier(thread, [] {});
  }

 private:
  using Entry = void (*)(void* context, int thread);
  struct alignas(64) Waiter {     // of one thread; touched by it alone
    int64_t spin_ns = 0;
  };

  ThreadPool(int size, std::vector<int> processors);
  void runErased(Entry entry, void* context);
  void work(int thread);
  /// True: this thread is the last one and the others wait for release(). False: they met.
  bool arrive(int thread);
  void release();
  Status start();

  const int size_;
  const std::vector<int> processors_;   // by thread; empty: not pinned
  int64_t max_spin_ns_ = 0;
  std::vector<Waiter> waiters_;
  struct Handles;
  std::unique_ptr<Handles> handles_;
  Entry entry_ = nullptr;
  void* context_ = nullptr;
  bool stopping_ = false;

  alignas(64) std::atomic<int32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) std::atomic<int32_t> parked_{0};
};

}  // namespace exo::runtime
