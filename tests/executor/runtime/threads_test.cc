#include "executor/runtime/threads.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <chrono>
#include <numeric>
#include <thread>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exo::runtime {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<ThreadPool> makePool(int threads, Pin pin = Pin::kYes) {
  auto pool = ThreadPool::create({threads, pin});
  EXPECT_TRUE(pool.ok());
  return std::move(pool).value();
}

/// Each thread adds its neighbour's value of the phase before: any missed or early barrier gives a wrong sum (or a race).
void chase(ThreadPool& pool, int phases) {
  const int n = pool.size();
  std::vector<int64_t> values[2] = {std::vector<int64_t>(n, 1), std::vector<int64_t>(n, 0)};
  pool.run([&](int thread) {
    for (int phase = 0; phase < phases; ++phase) {
      values[(phase + 1) % 2][thread] = values[phase % 2][(thread + 1) % n] + 1;
      pool.barrier(thread);
    }
  });
  for (const int64_t value : values[phases % 2]) EXPECT_EQ(value, phases + 1);
}

TEST(Threads, BarriersSeparatePhases) {
  for (const int threads : {1, 2, 3, 8}) {
    auto pool = makePool(threads);
    for (int i = 0; i < 20; ++i) chase(*pool, 100);
  }
}

TEST(Threads, SeveralPoolsOnTheSameProcessorsProgress) {
  std::vector<std::thread> owners;
  for (int i = 0; i < 4; ++i)
    owners.emplace_back([] {
      auto pool = makePool(3);
      for (int round = 0; round < 10; ++round) chase(*pool, 50);
    });
  for (std::thread& owner : owners) owner.join();
}

TEST(Threads, MoreThreadsThanProcessorsProgress) {
  auto pool = makePool(40);
  chase(*pool, 200);
}

int64_t processorMicroseconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& t) { return static_cast<int64_t>(t.tv_sec) * 1'000'000 + t.tv_usec; };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

TEST(Threads, IdleThreadsUseNoProcessorTime) {
  auto pool = makePool(4);
  chase(*pool, 10);
  std::this_thread::sleep_for(20ms);   // let them park
  const int64_t before = processorMicroseconds();
  std::this_thread::sleep_for(300ms);
  EXPECT_LT(processorMicroseconds() - before, 20'000);
}

TEST(Threads, WaitingForALongCallParks) {
  auto pool = makePool(2);
  const int64_t before = processorMicroseconds();
  pool->run([&](int thread) {
    if (thread == 0) std::this_thread::sleep_for(300ms);
    pool->barrier(thread);
  });
  EXPECT_LT(processorMicroseconds() - before, 50'000);
}

TEST(Threads, TheCallersAffinityIsRestored) {
  cpu_set_t before, after;
  sched_getaffinity(0, sizeof(before), &before);
  auto pool = makePool(2);
  chase(*pool, 3);
  sched_getaffinity(0, sizeof(after), &after);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

#if defined(__x86_64__)
TEST(Threads, DenormalsAreFlushedInsideAndNotOutside) {
  auto pool = makePool(3);
  std::vector<unsigned> modes(3);
  const unsigned before = _mm_getcsr();
  pool->run([&](int thread) { modes[thread] = _mm_getcsr(); });
  for (const unsigned mode : modes) EXPECT_EQ(mode & 0x8040, 0x8040u);
  EXPECT_EQ(_mm_getcsr() & 0x8040, before & 0x8040);
}
#endif

TEST(Threads, ImpossibleNumbersAreRefused) {
  EXPECT_FALSE(ThreadPool::create({-1, Pin::kNo}).ok());
  EXPECT_FALSE(ThreadPool::create({ThreadPool::kMaxThreads + 1, Pin::kNo}).ok());
  EXPECT_GE(makePool(0)->size(), 1);
}

}  // namespace
}  // namespace exo::runtime
