// Steps of a whole model on one node, driven by hand: one token of each of several sequences at a time, at several lengths of
// context. Per combination: tokens per second, the gain over one sequence, bytes of weights and of KV cache against the read
// roof, and what attention alone reaches of it. Steps and the roof take turns, so that work of others on the machine falls on both.
// --table: where the time of the fastest step goes, region by region.
#include <gflags/gflags.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "bench/flags.h"
#include "bench/machine.h"
#include "bench/model_work.h"
#include "bench/statistics.h"
#include "bench/team.h"
#include "executor/cluster/measure_kernels.h"
#include "executor/runtime/batch.h"
#include "executor/runtime/engine.h"
#include "executor/runtime/profile.h"
#include "executor/weight_source.h"
#include "frontend/driver/compile.h"
#include "frontend/driver/plan_source.h"
#include "frontend/topology/topology.h"

DEFINE_string(card, "llama-3.2-1b", "card (weights are made up) or model directory");
DEFINE_string(quant, "q4", "quantisation");
DEFINE_string(isa, "auto", "kernels for: auto, or a lower instruction set of this machine");
DEFINE_string(sequences, "1,2,4,8", "numbers of sequences decoded at once");
DEFINE_string(contexts, "64", "tokens in each sequence's cache");
DEFINE_int64(steps, 16, "steps of which the median is taken");
DEFINE_int64(repeat, 3, "runs of so many steps");
DEFINE_int32(threads, 0, "0: one per core");
DEFINE_bool(table, false, "print where the time of a step goes");

namespace exo::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kSeed = 7;
constexpr int64_t kWarmUpSteps = 3;

/// How fast the same threads read memory, in short turns.
class ReadRoof {
 public:
  explicit ReadRoof(int threads) : threads_(threads), region_(kRegionBytes) { std::memset(region_.data(), 1, kRegionBytes); }

  /// Bytes per second of one turn, in another part of the memory every time. Threads spin for a while after their work: the
  /// engine's are given the time to sleep, and the team lives for this turn only.
  double turn() {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    Team team(threads_);
    team.run([](int) {});
    at_ = (at_ + kTurnBytes) % kRegionBytes;
    std::atomic<int64_t> next{0};
    const Clock::time_point begin = Clock::now();
    team.run([&](int) {
      for (int64_t piece = kPieceBytes * next++; piece < kTurnBytes; piece = kPieceBytes * next++)
        sink_ += cluster::readOnce(reinterpret_cast<const std::byte*>(region_.data() + at_ + piece), kPieceBytes);
    });
    return static_cast<double>(kTurnBytes) / std::chrono::duration<double>(Clock::now() - begin).count();
  }

 private:
  static constexpr int64_t kRegionBytes = int64_t{1} << 29, kTurnBytes = int64_t{1} << 27, kPieceBytes = int64_t{1} << 20;
  int threads_;
  Region region_;
  int64_t at_ = 0;
  std::atomic<uint64_t> sink_{0};
};

struct Bench {
  plan::Plan plan;
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<ReadRoof> roof;
  int64_t pages_per_sequence = 0;

  const program::Program& program() const { return plan.programs(0); }
};

/// Sequences of equal length; what the cache holds is of no account for the time of a step.
class Sequences {
 public:
  Sequences(int64_t count, int64_t pages) : pages_(static_cast<size_t>(count)) {
    int32_t next = 0;
    for (auto& of_sequence : pages_)
      for (int64_t page = 0; page < pages; ++page) of_sequence.push_back(next++);
  }
  runtime::StepInput step(int64_t position) {
    batch_.clear();
    for (const auto& of_sequence : pages_) batch_.add(std::span(&kToken, 1), position, of_sequence, runtime::WantRows::kLast);
    return batch_.input();
  }

 private:
  static constexpr int32_t kToken = 1;
  std::vector<std::vector<int32_t>> pages_;
  runtime::Batch batch_;
};

struct Decoded {
  std::vector<double> step_s, attention_s, roof;
  std::vector<runtime::ProfileEvent> fastest;
};

/// Steps at positions from `context` on. Attention: the time from the first thread's begin to the last one's end.
Result<Decoded> decode(Bench& bench, int64_t sequences, int64_t context) {
  Sequences batch(sequences, bench.pages_per_sequence);
  Decoded decoded;
  for (int64_t step = -kWarmUpSteps; step < FLAGS_steps * FLAGS_repeat; ++step) {
    const double roof = bench.roof->turn();
    bench.engine->setProfiling(runtime::Profiling::kOn);
    const runtime::StepInput input = batch.step(context + (step + kWarmUpSteps) % FLAGS_steps);
    const Clock::time_point begin = Clock::now();
    EXO_TRY(bench.engine->step(input, nullptr));
    if (step < 0) continue;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (decoded.step_s.empty() || seconds < quantile(decoded.step_s, 0)) decoded.fastest = bench.engine->profile();
    decoded.step_s.push_back(seconds);
    decoded.roof.push_back(roof);
    double attention = 0;
    for (const runtime::CallTime& call : runtime::callTimes(bench.engine->profile())) {
      const program::Call& what = bench.program().calls(call.call);
      if (what.has_kernel() && bench.program().kernels(static_cast<int>(what.kernel())).op() == program::Kernel::ATTENTION) attention += call.wall_s;
    }
    decoded.attention_s.push_back(attention);
  }
  return decoded;
}

double cacheBytesPerToken(const program::Program& program) {
  double bytes = 0;
  for (const program::Cache& cache : program.caches())
    bytes += static_cast<double>(cache.kv_heads() * (cache.key_dim() + cache.value_dim())) * (cache.encoding() == program::F16 ? 2 : 4);
  return bytes;
}

Status measure(Bench& bench, int64_t context, const std::vector<int>& counts) {
  double one = 0;
  for (const int count : counts) {
    EXO_ASSIGN(const Decoded decoded, decode(bench, count, context));
    const Spread step = spreadOf(decoded.step_s), roof = spreadOf(decoded.roof);
    const double tokens_per_s = count / step.median, kv_bytes = cacheBytesPerToken(bench.program()) * static_cast<double>(context) * count;
    const double weight_bytes = workOfStep(bench.plan, count, count).weight_bytes;
    if (count == 1) one = tokens_per_s;
    std::printf("%2d sequences at %6ld tokens: %8.2f tok/s, step %s ms", count, static_cast<long>(context), tokens_per_s,
                text({step.low * 1e3, step.median * 1e3, step.high * 1e3}, 2).c_str());
    if (one > 0) std::printf(", %.2fx of one", tokens_per_s / one);
    std::printf("; weights %.0f MB + cache %.0f MB = %.0f %% of the read roof, %s GB/s", weight_bytes / 1e6, kv_bytes / 1e6,
                100 * (weight_bytes + kv_bytes) / step.median / roof.median, text({roof.low / 1e9, roof.median / 1e9, roof.high / 1e9}, 1).c_str());
    const double attention = quantile(decoded.attention_s, 0.5);
    std::printf("; attention %.2f ms, %.0f %% of it\n", attention * 1e3, 100 * kv_bytes / attention / roof.median);
    if (FLAGS_table) std::fputs(runtime::profileTable(bench.program(), decoded.fastest, roof.median).c_str(), stdout);
    std::fflush(stdout);
  }
  return {};
}

Result<Bench> makeBench(int64_t sequences, int64_t context) {
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(FLAGS_quant));
  options.topology = loopbackTopology(1);
  options.max_context = context;
  EXO_ASSIGN(const Model model, openModel(FLAGS_card));
  if (!model.checkpoint) options.random_seed = kSeed;
  EXO_ASSIGN(Compiled compiled, compile(model, options));
  Bench bench{.plan = std::move(compiled.plan), .engine = nullptr, .roof = nullptr};
  program::Program& program = *bench.plan.mutable_programs(0);
  bench.pages_per_sequence = static_cast<int64_t>(program.num_pages());
  program.set_num_pages(program.num_pages() * static_cast<uint64_t>(sequences));
  runtime::EngineOptions engine;
  engine.threads = FLAGS_threads;
  EXO_ASSIGN(engine.isa, codegen::parseIsa(FLAGS_isa));
  EXO_ASSIGN(const auto weights, openWeights(bench.plan.model_directory(), options.random_seed));
  const std::atomic<bool> cancel{false};
  EXO_ASSIGN(bench.engine, runtime::Engine::create(program, engine, weightReader(*weights, cancel), nullptr));
  bench.roof = std::make_unique<ReadRoof>(bench.engine->threads());
  return bench;
}

Status run() {
  EXO_TRY(checkRange("steps", FLAGS_steps, 1, 10'000));
  EXO_TRY(checkRange("repeat", FLAGS_repeat, 1, 1000));
  EXO_TRY(checkRange("threads", FLAGS_threads, 0, 1024));
  EXO_ASSIGN(const auto sequence_items, listFlag("sequences", FLAGS_sequences));
  EXO_ASSIGN(const auto context_items, listFlag("contexts", FLAGS_contexts));
  std::vector<int> counts, contexts;
  for (const std::string& item : sequence_items) {
    EXO_ASSIGN(counts.emplace_back(), numberFlag("sequences", item, 256));
  }
  for (const std::string& item : context_items) {
    EXO_ASSIGN(contexts.emplace_back(), numberFlag("contexts", item, 1 << 20));
  }
  EXO_ASSIGN(Bench bench, makeBench(*std::max_element(counts.begin(), counts.end()), *std::max_element(contexts.begin(), contexts.end()) + FLAGS_steps));
  std::printf("%s %s, %d threads, %s\n", FLAGS_card.c_str(), FLAGS_quant.c_str(), bench.engine->threads(), codegen::name(bench.engine->isa()));
  for (const int context : contexts) EXO_TRY(measure(bench, context, counts));
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_step: steps of many sequences, at short and long context, beside the read roof",
                                  {"card", "quant", "isa", "sequences", "contexts", "steps", "repeat", "threads", "table"}, exo::bench::run);
}
