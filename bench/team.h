// Threads and memory for benchmarks of single kernels.
#pragma once

#include <immintrin.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "ir/base/result.h"

namespace exo::bench {

inline double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Threads that run one function together and spin between rounds, as the executor's do.
class Team {
 public:
  explicit Team(int size) : size_(size) {
    for (int t = 1; t < size; ++t) workers_.emplace_back([this, t] { serve(t); });
  }
  ~Team() {
    stop_ = true;
    generation_.fetch_add(1);
  }
  int size() const { return size_; }
  void run(const std::function<void(int)>& work) {
    work_ = &work;
    left_ = size_ - 1;
    generation_.fetch_add(1);
    work(0);
    while (left_.load() != 0) _mm_pause();
  }

 private:
  void serve(int thread) {
    for (int seen = 0;;) {
      while (generation_.load() == seen) _mm_pause();
      seen = generation_.load();
      if (stop_) return;
      (*work_)(thread);
      left_.fetch_sub(1);
    }
  }
  const int size_;
  std::atomic<int> generation_{0}, left_{0};
  std::atomic<bool> stop_{false};
  const std::function<void(int)>* work_ = nullptr;
  std::vector<std::jthread> workers_;
};

/// Anonymous memory in huge pages.
class Region {
 public:
  explicit Region(int64_t bytes) : bytes_(bytes) {
    data_ = static_cast<unsigned char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXO_CHECK(data_ != MAP_FAILED) << "no memory for " << bytes << " bytes";
    madvise(data_, bytes, MADV_HUGEPAGE);
  }
  ~Region() { munmap(data_, bytes_); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  unsigned char* data() { return data_; }

 private:
  int64_t bytes_;
  unsigned char* data_;
};

}  // namespace exo::bench
