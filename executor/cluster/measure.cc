#include "executor/cluster/measure.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <fstream>
#include <functional>
#include <iomanip>
#include <mutex>
#include <sstream>
#include <thread>

#include "executor/cluster/measure_kernels.h"
#include "ir/base/machine.h"

namespace exo::cluster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRepetitions = 5;
constexpr std::chrono::milliseconds kRepetition{60};     // of arithmetic
constexpr std::chrono::milliseconds kReadBudget{900};    // of all thread counts together
constexpr size_t kChunkBytes = size_t{256} << 10;        // what a reader takes at a time; a multiple of 16 KiB
constexpr size_t kMinBufferBytes = size_t{64} << 20;
constexpr size_t kMaxBufferBytes = size_t{512} << 20;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Runs `work(thread)` on that many threads, pinned to different cores, that start together. Seconds from the common start
/// to the last one's end.
double timeTogether(int threads, const std::vector<int>& cores, const std::function<void(int)>& work) {
  std::barrier start(threads);
  std::mutex mutex;
  Clock::time_point begin = Clock::time_point::max(), end = Clock::time_point::min();
  std::vector<std::thread> pool;
  for (int thread = 0; thread < threads; ++thread) {
    pool.emplace_back([&, thread] {
      pinThisThread(cores[static_cast<size_t>(thread) % cores.size()]);
      start.arrive_and_wait();
      const Clock::time_point mine = Clock::now();
      work(thread);
      const std::lock_guard lock(mutex);
      begin = std::min(begin, mine);
      end = std::max(end, Clock::now());
    });
  }
  for (std::thread& thread : pool) thread.join();
  return std::chrono::duration<double>(end - begin).count();
}

uint64_t lastLevelCacheBytes() {
  long largest = 0;
  for (const int level : {_SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL4_CACHE_SIZE}) {
    largest = std::max(largest, ::sysconf(level));
  }
  return static_cast<uint64_t>(largest);
}

/// What a container may use, where it is less than the machine has.
uint64_t cgroupLimitBytes() {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  uint64_t bytes = 0;
  return file >> bytes ? bytes : UINT64_MAX;
}

/// A touched buffer of anonymous memory, on huge pages where the system grants them.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : bytes_(bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(memory);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }
  std::byte* data() { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  std::byte* data_ = nullptr;
};

std::vector<int> threadCounts(int most) {
  std::vector<int> counts;
  for (int threads = 1; threads < most; threads *= 2) counts.push_back(threads);
  counts.push_back(most);
  return counts;
}

/// One pass of `threads` readers over the whole buffer, in GB/s. Chunks are handed out as readers finish theirs, so that a
/// slow core does not stand for the whole machine.
double readPass(Buffer& buffer, int threads, const std::vector<int>& cores) {
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> sink = 0;
  const double seconds = timeTogether(threads, cores, [&](int) {
    uint64_t sum = 0;
    for (size_t at = next.fetch_add(kChunkBytes); at < buffer.bytes(); at = next.fetch_add(kChunkBytes)) {
      sum += readOnce(buffer.data() + at, kChunkBytes);
    }
    sink += sum;
  });
  return static_cast<double>(buffer.bytes()) / seconds / 1e9;
}

Result<std::vector<ReadRate>> measureRead(int threads, const std::vector<int>& cores, uint64_t available) {
  const uint64_t wanted = std::clamp<uint64_t>(4 * lastLevelCacheBytes(), kMinBufferBytes, kMaxBufferBytes);
  const uint64_t bytes = std::min(wanted, available / 2) / kChunkBytes * kChunkBytes;
  if (bytes < kChunkBytes) return makeError(ErrorCode::kDoesNotFit, "no memory to measure with: ", available, " bytes available");
  Buffer buffer(bytes);
  if (buffer.data() == nullptr) return makeError(ErrorCode::kDoesNotFit, "cannot get ", bytes, " bytes to measure with");
  // Touched by the threads that will read it, so that on several NUMA nodes it lies on all.
  timeTogether(threads, cores, [&](int thread) {
    const size_t part = buffer.bytes() / static_cast<size_t>(threads);
    std::fill_n(buffer.data() + part * static_cast<size_t>(thread), part, static_cast<std::byte>(thread + 1));
  });
  const std::vector<int> counts = threadCounts(threads);
  std::vector<ReadRate> rates;
  for (const int count : counts) {
    const auto deadline = Clock::now() + kReadBudget / counts.size();
    std::vector<double> samples;
    while (samples.size() < 3 || (samples.size() < kRepetitions && Clock::now() < deadline)) {
      samples.push_back(readPass(buffer, count, cores));
    }
    rates.push_back({count, summarized(std::move(samples))});
  }
  return rates;
}

/// Iterations of the loop that take about kRepetition on one core.
int64_t calibrate(const ArithmeticLoop& loop) {
  alignas(64) std::byte result[64];
  int64_t iterations = 1000;
  for (;;) {
    const Clock::time_point start = Clock::now();
    loop.run(iterations, result);
    const double seconds = secondsSince(start);
    if (seconds > 0.002) return std::max<int64_t>(1, static_cast<int64_t>(iterations * std::chrono::duration<double>(kRepetition).count() / seconds));
    iterations *= 4;
  }
}

Rate measureArithmetic(const ArithmeticLoop& loop, int threads, const std::vector<int>& cores) {
  const int64_t iterations = calibrate(loop);
  std::vector<double> samples;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const double seconds = timeTogether(threads, cores, [&](int) {
      alignas(64) std::byte result[64];
      loop.run(iterations, result);
      asm volatile("" : : "r"(result) : "memory");
    });
    samples.push_back(loop.operations_per_iteration * static_cast<double>(iterations) * threads / seconds / 1e9);
  }
  return summarized(std::move(samples));
}

}  // namespace

Rate summarized(std::vector<double> repetitions) {
  std::sort(repetitions.begin(), repetitions.end());
  const double median = repetitions[repetitions.size() / 2];
  return {median, median > 0 ? (repetitions.back() - repetitions.front()) / median : 0};
}

Result<Measurement> measureNode(int threads) {
  std::vector<int> cores = allowedProcessors();
  if (cores.empty()) cores.push_back(0);
  Measurement measurement;
  measurement.cores = static_cast<int>(cores.size());
  measurement.threads = threads <= 0 ? measurement.cores : std::min(threads, measurement.cores);
  measurement.cpu = processorName();
  const uint64_t limit = cgroupLimitBytes();
  measurement.memory_bytes = std::min(meminfoBytes("MemTotal"), limit);
  measurement.available_bytes = std::min(meminfoBytes("MemAvailable"), limit);
  EXO_ASSIGN(measurement.read, measureRead(measurement.threads, cores, measurement.available_bytes));
  const ArithmeticLoop int8 = int8Loop();
  measurement.int8_method = int8.method;
  measurement.int8_gop_per_s = measureArithmetic(int8, measurement.threads, cores);
  measurement.f32_gflop_per_s = measureArithmetic(f32Loop(), measurement.threads, cores);
  return measurement;
}

std::string describe(const Measurement& measurement) {
  std::ostringstream out;
  const auto rate = [&](const char* what, const Rate& value, const char* unit) {
    out << std::fixed << std::setprecision(1) << what << value.median << " " << unit << " (spread " << value.spread * 100 << " %)";
  };
  out << measurement.cpu << ", " << measurement.cores << " cores, " << (measurement.memory_bytes >> 20) << " MiB memory, "
      << (measurement.available_bytes >> 20) << " MiB available\n";
  for (const ReadRate& each : measurement.read) {
    rate("read, ", each.rate, "GB/s");
    out << ", " << each.threads << (each.threads == 1 ? " thread\n" : " threads\n");
  }
  rate("int8 ", measurement.int8_gop_per_s, "GOP/s");
  out << ", " << measurement.int8_method << ", " << measurement.threads << " threads\n";
  rate("f32 ", measurement.f32_gflop_per_s, "GFLOP/s");
  out << "\n";
  return out.str();
}

uint64_t residentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  if (!(file >> total >> resident)) return 0;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace exo::cluster
