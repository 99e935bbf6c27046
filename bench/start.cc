// From nothing to the first token, as `exoc run` goes: compile the plan, start one exo-exec, load, generate. First with empty
// caches (kernels are compiled, weights made up or read, and packed), then with full ones (kernels read, weights mapped).
// Beside the second start stand the bounds it is held to: 0.6 s, packed weights + KV cache + 150 MB resident, and how long
// reading the packed weights takes at the read roof, once to check them and once per token.
#include <gflags/gflags.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "bench/flags.h"
#include "bench/statistics.h"
#include "codegen/layout.h"
#include "executor/cluster/client.h"
#include "executor/cluster/measure.h"
#include "frontend/driver/compile.h"
#include "frontend/driver/local_cluster.h"
#include "frontend/driver/plan_source.h"
#include "frontend/topology/topology.h"

DEFINE_string(card, "llama-3.2-1b", "card (weights are made up) or model directory");
DEFINE_string(quant, "q4", "quantisation");
DEFINE_int64(prompt, 3, "tokens of the prompt");
DEFINE_int64(repeat, 5, "second starts of which the median is taken");
DEFINE_int32(threads, 0, "of the node; 0: one per core");
DEFINE_int32(timeout, 600, "seconds until the node must be ready");

namespace exo::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kSeed = 7;               // of made-up weights
constexpr double kMostSeconds = 0.6;        // of a second start
constexpr double kMostOverheadBytes = 150e6;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Seconds after the start, and bytes of the node.
struct Start {
  double plan_s = 0, ready_s = 0, first_token_s = 0;
  double resident = 0, resident_peak = 0;
};

class FirstToken : public cluster::GenerateSink {
 public:
  explicit FirstToken(Clock::time_point start) : start_(start) {}
  Status token(int32_t) override {
    if (seconds == 0) seconds = secondsSince(start_);
    return {};
  }
  Status logits(int64_t, int64_t, int64_t, std::span<const float>) override { return {}; }
  double seconds = 0;

 private:
  const Clock::time_point start_;
};

/// "VmRSS", "VmHWM" of this process's one child, in bytes; 0 where /proc does not say.
double ofTheChild(const std::string& field) {
  const std::string self = std::to_string(::getpid());
  std::string child, line;
  std::ifstream("/proc/" + self + "/task/" + self + "/children") >> child;
  std::ifstream status("/proc/" + child + "/status");
  while (std::getline(status, line)) {
    if (line.starts_with(field + ":")) return std::strtod(line.c_str() + field.size() + 1, nullptr) * 1024;
  }
  return 0;
}

Result<Start> start(const CompileOptions& options, plan::Plan& plan) {
  const Clock::time_point begin = Clock::now();
  Start result;
  EXO_ASSIGN(const PlanSource source, openPlan(FLAGS_card, options));
  plan = source.plan;
  result.plan_s = secondsSince(begin);
  LocalClusterOptions local;
  local.threads = FLAGS_threads;
  local.timeout = std::chrono::seconds(FLAGS_timeout);
  EXO_ASSIGN(const auto nodes, LocalCluster::start(source.plan, source.directory, local, nullptr));
  result.ready_s = secondsSince(begin);
  EXO_ASSIGN(const cluster::Address address, cluster::parseAddress(nodes->address()));
  EXO_ASSIGN(const auto client, cluster::ControlClient::connect(address, cluster::Security::loopbackOnly()));
  cluster::GenerateRequest request;
  for (int32_t id = 1; id <= FLAGS_prompt; ++id) request.prompt.push_back(id);
  request.max_tokens = 8;
  request.ignore_eos = true;
  FirstToken first(begin);
  EXO_TRY(client->generate(request, first));
  result.first_token_s = first.seconds;
  result.resident = ofTheChild("VmRSS");
  result.resident_peak = ofTheChild("VmHWM");
  return result;
}

double cacheBytes(const program::Program& program) {
  double bytes = 0;
  for (const program::Cache& cache : program.caches())
    bytes += static_cast<double>(codegen::cacheBytes(cache.encoding(), static_cast<int64_t>(program.num_pages()), static_cast<int64_t>(cache.kv_heads()),
                                                     static_cast<int64_t>(cache.key_dim()), static_cast<int64_t>(cache.value_dim())));
  return bytes;
}

double weightBytes(const program::Program& program) {
  double bytes = 0;
  for (const program::Weight& weight : program.weights()) {
    const auto rows = static_cast<int64_t>(weight.rows()), columns = static_cast<int64_t>(weight.columns());
    bytes += weight.layout() == program::Weight::VECTOR ? 4.0 * static_cast<double>(columns * weight.slices_size())
                                                        : static_cast<double>(weight.slices_size() * codegen::packedBytes(weight.encoding(), rows, columns));
  }
  return bytes;
}

void print(const char* which, const std::vector<Start>& starts) {
  const auto spread = [&](double Start::*part) {
    std::vector<double> values;
    for (const Start& start : starts) values.push_back(start.*part);
    return text(spreadOf(values), 3);
  };
  std::printf("%s start: plan after %s s, node ready after %s s, first token after %s s\n", which, spread(&Start::plan_s).c_str(), spread(&Start::ready_s).c_str(),
              spread(&Start::first_token_s).c_str());
}

/// Of the last start.
void printMemory(const char* which, const Start& start, const program::Program& program) {
  const double weights = weightBytes(program), caches = cacheBytes(program), most = weights + caches + kMostOverheadBytes;
  std::printf("%s start: %.0f MB resident (peak %.0f) of at most %.0f MB = %.0f packed weights + %.0f KV + 150: %s\n", which, start.resident / 1e6,
              start.resident_peak / 1e6, most / 1e6, weights / 1e6, caches / 1e6, start.resident <= most ? "within" : "ABOVE");
}

Status run() {
  EXO_TRY(checkRange("prompt", FLAGS_prompt, 1, 1 << 20));
  EXO_TRY(checkRange("repeat", FLAGS_repeat, 1, 1000));
  EXO_TRY(checkRange("threads", FLAGS_threads, 0, 1024));
  EXO_TRY(checkRange("timeout", FLAGS_timeout, 1, 86400));
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(FLAGS_quant));
  EXO_ASSIGN(const Model model, openModel(FLAGS_card));
  options.topology = loopbackTopology(1);
  if (!model.checkpoint) options.random_seed = kSeed;
  EXO_ASSIGN(const TemporaryDirectory caches, TemporaryDirectory::create());
  ::setenv("XDG_CACHE_HOME", caches.path().c_str(), 1);  // of the nodes started here: both caches are empty, and gone afterwards
  plan::Plan plan;
  EXO_ASSIGN(const Start first, start(options, plan));
  std::printf("%s %s, %s weights\n", FLAGS_card.c_str(), FLAGS_quant.c_str(), model.checkpoint ? "the checkpoint's" : "made-up");
  print("first ", {first});
  printMemory("first ", first, plan.programs(0));
  std::vector<Start> later;
  std::vector<double> seconds;
  for (int64_t i = 0; i < FLAGS_repeat; ++i) {
    EXO_ASSIGN(later.emplace_back(), start(options, plan));
    seconds.push_back(later.back().first_token_s);
  }
  print("second", later);
  printMemory("second", later.back(), plan.programs(0));
  EXO_ASSIGN(const cluster::Measurement roof, cluster::measureNode(FLAGS_threads));
  const double read = roof.read.back().rate.median * 1e9, median = spreadOf(seconds).median;
  std::printf("second start: %.3f s of at most %.1f s: %s; reading the weights once takes %.3f s at the read roof of %.1f GB/s\n", median, kMostSeconds,
              median <= kMostSeconds ? "within" : "ABOVE", weightBytes(plan.programs(0)) / read, read / 1e9);
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_start: from nothing to the first token, with empty and with full caches",
                                  {"card", "quant", "prompt", "repeat", "threads", "timeout"}, exo::bench::run);
}
