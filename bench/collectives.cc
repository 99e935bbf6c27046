// The algorithms of all_reduce by size, between more ranks than two: where the thresholds of
// executor/collectives/algorithms.h lie on this machine. Beside them the least that as many threads need in shared memory
// without any protocol: all write their terms, each adds up a part, all read the sum. Then what calibrate() makes of it.
// Usage: bench_collectives [ranks] [runs]
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <vector>

#include "bench/machine.h"
#include "bench/ranks.h"
#include "bench/statistics.h"
#include "executor/collectives/calibration.h"
#include "executor/collectives/collectives.h"

namespace exo::bench {
namespace {

using Clock = std::chrono::steady_clock;
using namespace collectives;

constexpr size_t kSizes[] = {1024, 8192, 16384, 65536, 262144, 1 << 20, 4 << 20};
constexpr size_t kMostFloats = (4 << 20) / sizeof(float);

/// Medians in microseconds, one per run.
using BySize = std::map<size_t, std::vector<double>>;
using Reduce = std::function<Status(std::vector<float>&)>;

int rounds(size_t bytes) { return static_cast<int>(std::clamp<size_t>((2 << 20) / bytes, 3, 60)); }

/// All ranks call it with the same sizes; `out` is null on all but the first.
Status measure(const Reduce& reduce, size_t bytes, BySize* out) {
  std::vector<float> sum(bytes / sizeof(float), 0.0f);
  std::vector<double> us;
  for (int i = 0, n = rounds(bytes); i < n + n / 10; ++i) {
    const Clock::time_point begin = Clock::now();
    EXO_TRY(reduce(sum));
    if (i >= n / 10) us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  if (out != nullptr) (*out)[bytes].push_back(quantile(us, 0.5));
  return {};
}

class BareMemory {
 public:
  explicit BareMemory(int world) : world_(world), terms_(static_cast<size_t>(world), std::vector<float>(kMostFloats)), sum_(kMostFloats) {}

  Status reduce(int rank, std::vector<float>& values) {
    std::copy(values.begin(), values.end(), terms_[static_cast<size_t>(rank)].begin());
    meet();
    const size_t begin = values.size() * static_cast<size_t>(rank) / static_cast<size_t>(world_);
    const size_t end = values.size() * static_cast<size_t>(rank + 1) / static_cast<size_t>(world_);
    std::copy(terms_[0].begin() + begin, terms_[0].begin() + end, sum_.begin() + begin);
    for (size_t r = 1; r < terms_.size(); ++r)
      for (size_t i = begin; i < end; ++i) sum_[i] += terms_[r][i];
    meet();
    std::copy_n(sum_.begin(), values.size(), values.begin());
    return {};
  }

 private:
  void meet() {
    const uint64_t all = (came_.fetch_add(1) / static_cast<uint64_t>(world_) + 1) * static_cast<uint64_t>(world_);
    for (int spins = 0; came_.load() < all;) {
      if (++spins % 256 == 0) ::sched_yield();  // the ranks may share cores
    }
  }

  int world_;
  std::vector<std::vector<float>> terms_;
  std::vector<float> sum_;
  alignas(128) std::atomic<uint64_t> came_{0};
};

Result<BySize> floorOf(int world, int runs) {
  BareMemory memory(world);
  BySize out;
  EXO_TRY(onThreads(world, [&](int rank) -> Status {
    for (int run = 0; run < runs; ++run)
      for (const size_t bytes : kSizes)
        EXO_TRY(measure([&](std::vector<float>& sum) { return memory.reduce(rank, sum); }, bytes, rank == 0 ? &out : nullptr));
    return {};
  }));
  return out;
}

struct Variant {
  const char* name;
  Algorithm algorithm;
  WireFormat wire;
};
constexpr Variant kVariants[] = {{"one-shot", Algorithm::kOneShot, WireFormat::kF32},
                                 {"two-shot", Algorithm::kTwoShot, WireFormat::kF32},
                                 {"chain", Algorithm::kChain, WireFormat::kF32},
                                 {"hierarchical", Algorithm::kHierarchical, WireFormat::kF32},
                                 {"two-shot bf16", Algorithm::kTwoShot, WireFormat::kBf16}};

struct Figures {
  BySize by_variant[std::size(kVariants)];
  Calibration calibration;
  double calibration_ms = 0;
};

Status measureRank(transport::Mesh& mesh, int runs, Figures* out) {
  std::vector<int> group;
  for (int rank = 0; rank < mesh.world(); ++rank) group.push_back(rank);
  for (size_t v = 0; v < std::size(kVariants); ++v) {
    Options options;
    options.algorithms.others = Thresholds::always(kVariants[v].algorithm);
    options.wire = kVariants[v].wire;
    options.bf16_above_bytes = 0;
    EXO_ASSIGN(const auto communicator, Communicator::create(mesh, group, options));
    const Reduce reduce = [&](std::vector<float>& sum) { return communicator->allReduce(sum, sum, "bench"); };
    for (int run = 0; run < runs; ++run)
      for (const size_t bytes : kSizes) EXO_TRY(measure(reduce, bytes, out == nullptr ? nullptr : &out->by_variant[v]));
  }
  const Clock::time_point begin = Clock::now();
  EXO_ASSIGN(Calibration calibration, calibrate(mesh, group, {}));
  if (out == nullptr) return {};
  out->calibration = std::move(calibration);
  out->calibration_ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  return {};
}

void print(const char* transport, int world, const Figures& figures, const BySize& floor) {
  for (const size_t bytes : kSizes) {
    std::printf("%s x%d %8zu B |", transport, world, bytes);
    for (size_t v = 0; v < std::size(kVariants); ++v)
      std::printf(" %s %s |", kVariants[v].name, text(spreadOf(figures.by_variant[v].at(bytes)), 1).c_str());
    std::printf(" bare memory %s us\n", text(spreadOf(floor.at(bytes)), 1).c_str());
  }
  std::printf("%s x%d calibration of %.0f ms, %zu sizes, barrier %.1f us:", transport, world, figures.calibration_ms,
              figures.calibration.timings.size(), figures.calibration.barrier_us);
  for (const Thresholds::Step& step : figures.calibration.thresholds.steps)
    std::printf(" %s up to %s;", std::string(collectives::name(step.algorithm)).c_str(),
                step.up_to_bytes == Thresholds::kNoLimit ? "any size" : (std::to_string(step.up_to_bytes) + " B").c_str());
  std::printf("\n");
  std::fflush(stdout);
}

Status run(int world, int runs) {
  if (allowedCores() < world) std::printf("WARNING: %d ranks share %d cores: figures are those of the scheduler\n", world, allowedCores());
  EXO_ASSIGN(const BySize floor, floorOf(world, runs));
  for (const auto& [name, choice] : {std::pair("shm", transport::Choice::kShm), std::pair("tcp", transport::Choice::kTcp)}) {
    Figures figures;
    EXO_TRY(onRanks(world, choice, [&](int rank, transport::Mesh& mesh) { return measureRank(mesh, runs, rank == 0 ? &figures : nullptr); }));
    print(name, world, figures, floor);
  }
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  int numbers[] = {4, 3};
  bool good = argc <= 3;
  for (int i = 1; i < argc && good; ++i) {
    const char* const end = argv[i] + std::strlen(argv[i]);
    good = std::from_chars(argv[i], end, numbers[i - 1]).ptr == end;
  }
  const auto [ranks, runs] = numbers;
  if (!good || ranks < 3 || ranks > 16 || runs < 1 || runs > 1000) {
    std::cerr << "usage: bench_collectives [ranks, 3 to 16] [runs, 1 to 1000]" << std::endl;
    return 2;
  }
  exo::bench::printMachine();
  const exo::Status status = exo::bench::run(ranks, runs);
  if (status.ok()) return 0;
  std::cerr << status.error() << std::endl;
  return 1;
}
