// all_reduce between two ranks. Alone: back to back, by size and transport, beside the least that two cores need to exchange
// and add as much through shared memory without any protocol. Inside a running model: every all_reduce of decode steps, with
// the moment each rank arrives, so that waiting for the other (skew) and the exchange itself are told apart.
#include <gflags/gflags.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "bench/flags.h"
#include "bench/machine.h"
#include "bench/statistics.h"
#include "bench/ranks.h"
#include "executor/collectives/collectives.h"
#include "executor/node.h"
#include "executor/runtime/batch.h"
#include "executor/runtime/engine.h"
#include "executor/weight_source.h"
#include "frontend/driver/compile.h"
#include "frontend/topology/topology.h"

DEFINE_string(card, "qwen3-0.6b", "card (weights are made up) or model directory; empty: only all_reduce alone");
DEFINE_string(quant, "q4", "quantisation of the model");
DEFINE_string(transports, "shm,tcp", "transports");
DEFINE_int64(steps, 64, "decode steps of the model that count");
DEFINE_int64(repeat, 3, "runs of which the median is taken, of all_reduce alone");

namespace exo::bench {
namespace {

using Clock = std::chrono::steady_clock;
using collectives::Communicator;

constexpr size_t kSizes[] = {1024, 2048, 4096, 8192, 16384, 65536, 262144, 1 << 20, 4 << 20};
constexpr int64_t kPromptTokens = 32, kWarmUpSteps = 4;  // of the model, before steps count
constexpr uint64_t kSeed = 7;

int rounds(size_t bytes) { return static_cast<int>(std::clamp<size_t>((64 << 20) / bytes, 40, 3000)); }

int64_t nanoseconds(Clock::duration duration) { return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count(); }

// ---- Alone.

/// p50 and p99 in microseconds of each of FLAGS_repeat runs.
struct Latency {
  std::vector<double> p50, p99;
  void add(const std::vector<double>& us) {
    p50.push_back(quantile(us, 0.5));
    p99.push_back(quantile(us, 0.99));
  }
};
using LatencyBySize = std::map<size_t, Latency>;

/// Runs reduce(sum) as often as the size deserves, a tenth more before it counts.
template <class Reduce>
Status timeRounds(size_t bytes, Latency* latency, Reduce&& reduce) {
  std::vector<float> sum(bytes / sizeof(float), 0.0f);
  std::vector<double> us;
  for (int i = 0, n = rounds(bytes); i < n + n / 10; ++i) {
    const Clock::time_point begin = Clock::now();
    EXO_TRY(reduce(sum));
    if (i >= n / 10) us.push_back(static_cast<double>(nanoseconds(Clock::now() - begin)) / 1e3);
  }
  if (latency != nullptr) latency->add(us);
  return {};
}

/// What one rank writes for the other. Two slots: who writes the third time has seen the other leave the first.
struct BareSlots {
  alignas(128) std::atomic<uint64_t> arrived{0};
  alignas(128) float values[2][(4 << 20) / sizeof(float)];
};

Status floorOfAllReduce(LatencyBySize& latencies) {
  const std::unique_ptr<BareSlots[]> slots(new BareSlots[2]());
  return onThreads(2, [&](int rank) -> Status {
    BareSlots &mine = slots[static_cast<size_t>(rank)], &theirs = slots[static_cast<size_t>(1 - rank)];
    uint64_t number = 0;
    const auto reduce = [&](std::vector<float>& sum) -> Status {
      float* const out = mine.values[number % 2];
      const float* const in = theirs.values[number % 2];
      std::memcpy(out, sum.data(), sum.size() * sizeof(float));
      mine.arrived.store(++number, std::memory_order_release);
      for (int spins = 0; theirs.arrived.load(std::memory_order_acquire) < number;) {
        if (++spins % 4096 == 0) ::sched_yield();  // the two may share a core
      }
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += in[i];
      return {};
    };
    for (int64_t run = 0; run < FLAGS_repeat; ++run) {
      for (const size_t bytes : kSizes) EXO_TRY(timeRounds(bytes, rank == 0 ? &latencies[bytes] : nullptr, reduce));
    }
    return {};
  });
}

Status allReduceAlone(transport::Choice choice, LatencyBySize& latencies) {
  return onRanks(2, choice, [&](int rank, transport::Mesh& mesh) -> Status {
    EXO_ASSIGN(const auto group, Communicator::create(mesh, {0, 1}, {}));
    const auto reduce = [&](std::vector<float>& sum) { return group->allReduce(sum, sum, "bench"); };
    for (int64_t run = 0; run < FLAGS_repeat; ++run) {
      for (const size_t bytes : kSizes) EXO_TRY(timeRounds(bytes, rank == 0 ? &latencies[bytes] : nullptr, reduce));
    }
    return {};
  });
}

void print(const std::string& transport, const LatencyBySize& link, const LatencyBySize& floor) {
  for (const size_t bytes : kSizes) {
    const Latency &measured = link.at(bytes), &least = floor.at(bytes);
    std::printf("%-4s all_reduce of %8zu B  p50 %s us  p99 %s us | bare memory: p50 %s us\n", transport.c_str(), bytes, text(spreadOf(measured.p50), 2).c_str(),
                text(spreadOf(measured.p99), 2).c_str(), text(spreadOf(least.p50), 2).c_str());
  }
  std::fflush(stdout);
}

// ---- Inside a model.

/// One all_reduce on one rank, nanoseconds of the common clock.
struct Visit {
  int64_t entry, exit;
};

/// Of one rank: visits by step, then by all_reduce call; and how long each step took.
struct Recording {
  std::vector<Visit> visits;
  std::vector<double> step_us;
};

std::vector<int> allReduceCalls(const program::Program& program) {
  std::vector<int> calls;
  for (int i = 0; i < program.calls_size(); ++i) {
    const program::Call& call = program.calls(i);
    if (call.has_collective() && call.collective().op() == program::Collective::ALL_REDUCE && call.rows() == program::TOKENS) calls.push_back(i);
  }
  return calls;
}

uint64_t bytesOf(const program::Program& program, int call) {
  return program.buffers(static_cast<int>(program.calls(call).in(0).buffer())).columns() * sizeof(float);
}

void record(const std::vector<runtime::ProfileEvent>& profile, const std::vector<int>& calls, int64_t begin, int64_t end, Recording& out) {
  for (const runtime::ProfileEvent& event : profile) {
    if (event.peer == runtime::ProfileEvent::kNoPeer && std::binary_search(calls.begin(), calls.end(), event.call)) out.visits.push_back({event.begin_ns, event.end_ns});
  }
  out.step_us.push_back(static_cast<double>(end - begin) / 1e3);
}

/// A prompt, then steps of one token; both ranks give their engines the same inputs.
Status decode(runtime::Engine& engine, const std::vector<int>& calls, Recording& out) {
  std::vector<int32_t> pages(static_cast<size_t>(engine.limits().num_pages));
  for (size_t page = 0; page < pages.size(); ++page) pages[page] = static_cast<int32_t>(page);
  std::vector<int32_t> tokens(kPromptTokens, 1);
  runtime::Batch batch;
  int64_t position = 0;
  for (int64_t step = -1 - kWarmUpSteps; step < FLAGS_steps; ++step) {
    batch.clear();
    batch.add(tokens, position, pages, runtime::WantRows::kLast);
    position += static_cast<int64_t>(tokens.size());
    tokens.assign(1, static_cast<int32_t>(position % engine.limits().vocab_size));
    engine.setProfiling(runtime::Profiling::kOn);  // clears the figures of the step before
    const int64_t begin = nanoseconds(Clock::now().time_since_epoch());
    EXO_TRY(engine.step(batch.input(), nullptr));
    const int64_t end = nanoseconds(Clock::now().time_since_epoch());
    if (step >= 0) record(engine.profile(), calls, begin, end, out);
  }
  return {};
}

Status runRank(const plan::Plan& plan, int rank, transport::Mesh& mesh, Recording& out) {
  const program::Program& program = plan.programs(rank);
  EXO_ASSIGN(const auto weights, openWeights(plan.model_directory(), plan.has_random_seed() ? std::optional<uint64_t>(plan.random_seed()) : std::nullopt));
  runtime::EngineOptions options;
  options.threads = 1;
  options.pin = runtime::Pin::kNo;  // the thread that calls is pinned already
  EXO_ASSIGN(const auto engine, runtime::Engine::create(program, options, weightReader(*weights, *mesh.cancel()), &mesh));
  return decode(*engine, allReduceCalls(program), out);
}

void printInside(const std::string& transport, const program::Program& program, const Recording (&ranks)[2], const LatencyBySize& alone) {
  const std::vector<int> calls = allReduceCalls(program);
  const uint64_t bytes = bytesOf(program, calls.front());
  std::vector<double> whole, skew, beyond, in_step(static_cast<size_t>(FLAGS_steps), 0.0);
  for (size_t i = 0; i < ranks[0].visits.size(); ++i) {
    const Visit &a = ranks[0].visits[i], &b = ranks[1].visits[i];
    const int64_t both_there = std::max(a.entry, b.entry);
    skew.push_back(static_cast<double>(std::abs(a.entry - b.entry)) / 1e3);
    for (const Visit& visit : {a, b}) {
      whole.push_back(static_cast<double>(visit.exit - visit.entry) / 1e3);
      beyond.push_back(static_cast<double>(visit.exit - both_there) / 1e3);
    }
    in_step[i / calls.size()] += static_cast<double>(a.exit - a.entry) / 1e3;
  }
  const auto line = [](const char* what, const std::vector<double>& us) { std::printf("  %-44s p50 %8.2f us  p99 %8.2f us\n", what, quantile(us, 0.5), quantile(us, 0.99)); };
  std::printf("%-4s %s %s, 2 ranks x 1 thread, %zu all_reduce of %lu B in each of %ld decode steps\n", transport.c_str(), FLAGS_card.c_str(), FLAGS_quant.c_str(), calls.size(),
              static_cast<unsigned long>(bytes), static_cast<long>(FLAGS_steps));
  line("one all_reduce, as a rank sees it", whole);
  line("of it skew: one rank waits for the other", skew);
  line("of it exchange: after both have arrived", beyond);
  if (const auto same = alone.lower_bound(bytes); same != alone.end()) std::printf("  alone, of %zu B: p50 %.2f us\n", same->first, spreadOf(same->second.p50).median);
  const Spread step = spreadOf(ranks[0].step_us);
  std::printf("  step %s us, of it all_reduce %.0f us = %.1f %% on rank 0\n", text(step, 0).c_str(), quantile(in_step, 0.5), 100 * quantile(in_step, 0.5) / step.median);
  std::fflush(stdout);
}

Result<plan::Plan> planForTwo() {
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(FLAGS_quant));
  options.strategy.kind = Strategy::Kind::kTensorParallel;
  options.topology = loopbackTopology(2);
  options.max_context = kPromptTokens + kWarmUpSteps + FLAGS_steps;
  EXO_ASSIGN(const Model model, openModel(FLAGS_card));
  if (!model.checkpoint) options.random_seed = kSeed;
  EXO_ASSIGN(Compiled compiled, compile(model, options));
  if (compiled.plan.programs_size() != 2 || allReduceCalls(compiled.plan.programs(0)).empty()) {
    return makeError(ErrorCode::kUnsupported, FLAGS_card, ": its plan for two nodes has no all_reduce to measure");
  }
  return std::move(compiled.plan);
}

Status run() {
  EXO_TRY(checkRange("steps", FLAGS_steps, 1, 100'000));
  EXO_TRY(checkRange("repeat", FLAGS_repeat, 1, 1000));
  EXO_ASSIGN(const auto transports, listFlag("transports", FLAGS_transports));
  if (allowedCores() < 2) std::printf("WARNING: two ranks share one core: figures are those of the scheduler\n");
  LatencyBySize floor;
  EXO_TRY(floorOfAllReduce(floor));
  std::optional<plan::Plan> plan;
  if (!FLAGS_card.empty()) {
    EXO_ASSIGN(plan, planForTwo());
  }
  for (const std::string& transport : transports) {
    EXO_ASSIGN(const transport::Choice choice, transport::parseChoice(transport));
    LatencyBySize alone;
    EXO_TRY(allReduceAlone(choice, alone));
    print(transport, alone, floor);
    if (!plan) continue;
    Recording ranks[2];
    EXO_TRY(onRanks(2, choice, [&](int rank, transport::Mesh& mesh) { return runRank(*plan, rank, mesh, ranks[rank]); }));
    printInside(transport, plan->programs(0), ranks, alone);
  }
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_all_reduce: all_reduce of two ranks, alone and inside a running model",
                                  {"card", "quant", "transports", "steps", "repeat"}, exo::bench::run);
}
