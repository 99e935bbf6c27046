// A whole model on this machine: as many exo-exec processes as nodes are asked for, started and driven as `exoc run` does.
// Per quantisation and number of nodes: prompt and generation speed, time to first token and time to load. Beside them the
// machine's roofs for as many threads: reading weights in generation, arithmetic in the prompt. They are measured just
// before and just after, and the better one counts: a roof that moves in between was measured beside somebody else's work.
#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <vector>

#include "bench/flags.h"
#include "bench/machine.h"
#include "bench/model_work.h"
#include "bench/statistics.h"
#include "executor/cluster/client.h"
#include "executor/cluster/measure.h"
#include "frontend/driver/compile.h"
#include "frontend/driver/local_cluster.h"
#include "frontend/driver/plan_source.h"
#include "frontend/topology/topology.h"

DEFINE_string(card, "llama-3.2-1b", "card (weights are made up) or model directory");
DEFINE_string(quants, "q4,q8,bf16", "quantisations");
DEFINE_string(nodes, "1,2", "numbers of nodes on this machine");
DEFINE_string(strategy, "tp", "tp, pp or a grid such as tp2pp2");
DEFINE_string(weight_cache_dir, "none", "of packed weights: a directory, whose files are mapped, or none: private memory");
DEFINE_string(transport, "auto", "between nodes: auto, shm, verbs, tcp");
DEFINE_string(isa, "auto", "kernels for: auto, avx512-vnni, avx-vnni, avx2, neon-i8mm, neon-dotprod, generic");
DEFINE_int64(prompt, 512, "tokens of the prompt");
DEFINE_int64(generate, 64, "tokens to generate");
DEFINE_int64(repeat, 3, "runs of which the median is taken");
DEFINE_int32(threads, 0, "per node; 0: the cores divided by the nodes");
DEFINE_int32(timeout, 600, "seconds until all nodes must be ready");

namespace exo::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kSeed = 7;         // of made-up weights
constexpr double kSteadyRoof = 0.15;  // a roof that moves by more than this part is not one
constexpr int64_t kWarmUpTokens = 4;  // first touches of KV pages and stacks, before anything counts

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Configuration {
  Quantization quantization;
  int nodes, threads;
};

/// Of so many threads together, per second.
struct Roof {
  int threads = 0;
  double read_bytes = 0, int8_ops = 0, f32_ops = 0;
  std::string int8_method;
};

struct Speeds {
  Spread prompt, generation, first_token_s;  // tokens per second, the last in seconds
  double load_s = 0;
  Roof roof;
};

std::string title(const Configuration& c) {
  return FLAGS_card + " " + name(c.quantization) + ", " + std::to_string(c.nodes) + (c.nodes == 1 ? " node x " : " nodes x ") + std::to_string(c.threads) +
         (c.threads == 1 ? " thread" : " threads");
}

/// Notes when the first token arrives, and counts.
class Sink : public cluster::GenerateSink {
 public:
  Status token(int32_t) override {
    if (count_++ == 0) first_s_ = secondsSince(start_);
    return {};
  }
  Status logits(int64_t, int64_t, int64_t, std::span<const float>) override { return {}; }
  int64_t count() const { return count_; }
  double firstTokenSeconds() const { return first_s_; }

 private:
  const Clock::time_point start_ = Clock::now();
  int64_t count_ = 0;
  double first_s_ = 0;
};

/// Another prompt every time, so that nothing kept from the one before can help.
std::vector<int32_t> makePrompt(int64_t tokens, int64_t vocabulary, int64_t number) {
  std::mt19937 random(static_cast<uint32_t>(number));
  std::uniform_int_distribution<int32_t> id(0, static_cast<int32_t>(vocabulary) - 1);
  std::vector<int32_t> prompt(static_cast<size_t>(tokens));
  for (int32_t& token : prompt) token = id(random);
  return prompt;
}

cluster::GenerateRequest makeRequest(int64_t prompt, int64_t generate, const plan::Plan& plan, int64_t number) {
  cluster::GenerateRequest request;
  request.prompt = makePrompt(prompt, static_cast<int64_t>(plan.programs(0).vocab_size()), number);
  request.max_tokens = generate;
  request.ignore_eos = true;
  return request;
}

Result<Speeds> generateRepeatedly(cluster::ControlClient& client, const plan::Plan& plan) {
  Sink warm_up;
  EXO_TRY(client.generate(makeRequest(std::min(FLAGS_prompt, kWarmUpTokens), kWarmUpTokens, plan, 0), warm_up));
  std::vector<double> prompt, generation, first;
  for (int64_t run = 1; run <= FLAGS_repeat; ++run) {
    Sink sink;
    EXO_ASSIGN(const cluster::GenerateStats stats, client.generate(makeRequest(FLAGS_prompt, FLAGS_generate, plan, run), sink));
    if (sink.count() != FLAGS_generate) return makeError(ErrorCode::kMismatch, "asked for ", FLAGS_generate, " tokens, got ", sink.count());
    prompt.push_back(static_cast<double>(stats.prompt_tokens) / stats.prefill_seconds);
    generation.push_back(static_cast<double>(stats.generated_tokens - 1) / stats.decode_seconds);
    first.push_back(sink.firstTokenSeconds());
  }
  return Speeds{spreadOf(prompt), spreadOf(generation), spreadOf(first)};
}

Result<Speeds> runNodes(const plan::Plan& plan, const std::filesystem::path& directory, const Configuration& c) {
  LocalClusterOptions options;
  options.threads = c.threads;
  options.isa = FLAGS_isa;
  options.transport = FLAGS_transport;
  options.weight_cache_dir = FLAGS_weight_cache_dir;
  options.timeout = std::chrono::seconds(FLAGS_timeout);
  const Clock::time_point start = Clock::now();
  EXO_ASSIGN(const auto nodes, LocalCluster::start(plan, directory, options, nullptr));
  const double load_s = secondsSince(start);
  EXO_ASSIGN(const cluster::Address address, cluster::parseAddress(nodes->address()));
  EXO_ASSIGN(const auto client, cluster::ControlClient::connect(address, cluster::Security::loopbackOnly()));
  auto speeds = generateRepeatedly(*client, plan);
  if (!speeds.ok()) {
    if (auto cause = nodes->failure()) return std::move(*cause);
    return speeds;
  }
  speeds->load_s = load_s;
  return speeds;
}

Result<Roof> measureRoof(const Configuration& c) {
  EXO_ASSIGN(const cluster::Measurement m, cluster::measureNode(std::min(c.nodes * c.threads, allowedCores())));
  return Roof{m.threads, m.read.back().rate.median * 1e9, m.int8_gop_per_s.median * 1e9, m.f32_gflop_per_s.median * 1e9, m.int8_method};
}

/// The better of two; `moved` is by what part they differ at most.
Roof betterOf(const Roof& a, const Roof& b, double& moved) {
  Roof best = a;
  for (const auto rate : {&Roof::read_bytes, &Roof::int8_ops, &Roof::f32_ops}) {
    best.*rate = std::max(a.*rate, b.*rate);
    moved = std::max(moved, 1 - std::min(a.*rate, b.*rate) / best.*rate);
  }
  return best;
}

void print(const Configuration& c, const Speeds& speeds, const plan::Plan& plan) {
  const Roof& roof = speeds.roof;
  const StepWork decode = workOfStep(plan, 1, 1), prefill = workOfStep(plan, FLAGS_prompt, 1);
  const double prompt_s = static_cast<double>(FLAGS_prompt) / speeds.prompt.median;
  const double roof_s = prefill.int8_ops / roof.int8_ops + prefill.f32_ops / roof.f32_ops;
  const double gb_per_s = decode.weight_bytes * speeds.generation.median / 1e9;
  std::printf("%s\n", title(c).c_str());
  std::printf("  roof, %d %s:  read %.1f GB/s; %s %.0f GOP/s; f32 %.0f GFLOP/s\n", roof.threads, roof.threads == 1 ? "thread" : "threads", roof.read_bytes / 1e9,
              roof.int8_method.c_str(), roof.int8_ops / 1e9, roof.f32_ops / 1e9);
  std::printf("  prompt %5ld:      %s tok/s = %.0f GOP/s, %.0f %% of the arithmetic roof\n", static_cast<long>(FLAGS_prompt), text(speeds.prompt, 1).c_str(),
              (prefill.int8_ops + prefill.f32_ops) / prompt_s / 1e9, 100 * roof_s / prompt_s);
  std::printf("  generation %5ld:  %s tok/s = %.1f GB/s of %.0f MB of weights per token, %.0f %% of the read roof\n", static_cast<long>(FLAGS_generate),
              text(speeds.generation, 2).c_str(), gb_per_s, decode.weight_bytes / 1e6, 100 * gb_per_s * 1e9 / roof.read_bytes);
  std::printf("  first token after %s s; loaded in %.1f s (once)\n", text(speeds.first_token_s, 2).c_str(), speeds.load_s);
}

Result<Speeds> measure(const Model& model, const Configuration& c) {
  CompileOptions options;
  options.quantization = c.quantization;
  options.max_context = FLAGS_prompt + FLAGS_generate;
  EXO_ASSIGN(options.strategy, parseStrategy(FLAGS_strategy));
  options.topology = loopbackTopology(c.nodes);
  if (!model.checkpoint) options.random_seed = kSeed;
  EXO_ASSIGN(const Compiled compiled, compile(model, options));
  EXO_ASSIGN(const TemporaryDirectory temporary, TemporaryDirectory::create());
  EXO_TRY(writePlan(compiled, {DumpIr::kNone, ""}, temporary.path() / "plan"));
  EXO_ASSIGN(const plan::Plan plan, loadPlan(temporary.path() / "plan"));
  EXO_ASSIGN(const Roof before, measureRoof(c));
  EXO_ASSIGN(Speeds speeds, runNodes(plan, temporary.path() / "plan", c));
  EXO_ASSIGN(const Roof after, measureRoof(c));
  double moved = 0;
  speeds.roof = betterOf(before, after, moved);
  print(c, speeds, plan);
  if (moved > kSteadyRoof) std::printf("  WARNING: the roof moved by %.0f %% in the meantime: others use the machine\n", 100 * moved);
  std::fflush(stdout);
  return speeds;
}

/// Every number of nodes, and one node with as many threads as each of several has: what one machine of such a cluster does.
Result<std::vector<Configuration>> configurations(Quantization quantization, const std::vector<int>& nodes) {
  std::vector<Configuration> all;
  const auto add = [&](int count, int threads) {
    const bool known = std::any_of(all.begin(), all.end(), [&](const Configuration& c) { return c.nodes == count && c.threads == threads; });
    if (!known) all.push_back({quantization, count, threads});
  };
  for (const int count : nodes) {
    const int threads = FLAGS_threads > 0 ? FLAGS_threads : std::max(1, allowedCores() / count);
    if (count > 1) add(1, threads);
    add(count, threads);
  }
  return all;
}

/// Nodes of one machine share its memory bus, so the roofs need not grow by the number of nodes.
void printRatio(const Configuration& c, const Speeds& speeds, const Speeds& one) {
  std::printf("  against 1 node x %d: prompt %.2fx (int8 roof %.2fx), generation %.2fx (read roof %.2fx)\n", c.threads,
              speeds.prompt.median / one.prompt.median, speeds.roof.int8_ops / one.roof.int8_ops,
              speeds.generation.median / one.generation.median, speeds.roof.read_bytes / one.roof.read_bytes);
  std::fflush(stdout);
}

/// A configuration that fails (memory, or a model that so many nodes cannot split) is reported; the others go on.
Status measureAll(const Model& model, Quantization quantization, const std::vector<int>& nodes, int& failures) {
  std::map<int, Speeds> one_node;  // by threads
  EXO_ASSIGN(const std::vector<Configuration> all, configurations(quantization, nodes));
  for (const Configuration& c : all) {
    const auto speeds = measure(model, c);
    if (!speeds.ok()) {
      std::printf("%s\n  failed: %s\n", title(c).c_str(), speeds.error().message().c_str());
      std::fflush(stdout);
      ++failures;
      continue;
    }
    if (c.nodes == 1) one_node[c.threads] = *speeds;
    else if (one_node.contains(c.threads)) printRatio(c, *speeds, one_node[c.threads]);
  }
  return {};
}

Status run() {
  EXO_TRY(checkRange("prompt", FLAGS_prompt, 1, 1 << 20));
  EXO_TRY(checkRange("generate", FLAGS_generate, 2, 1 << 20));
  EXO_TRY(checkRange("repeat", FLAGS_repeat, 1, 1000));
  EXO_TRY(checkRange("threads", FLAGS_threads, 0, 1024));
  EXO_TRY(checkRange("timeout", FLAGS_timeout, 1, 86400));
  EXO_ASSIGN(const auto quants, listFlag("quants", FLAGS_quants));
  EXO_ASSIGN(const auto counts, listFlag("nodes", FLAGS_nodes));
  std::vector<Quantization> quantizations;
  for (const std::string& quant : quants) {
    EXO_ASSIGN(quantizations.emplace_back(), parseQuantization(quant));
  }
  std::vector<int> nodes;
  for (const std::string& count : counts) {
    EXO_ASSIGN(nodes.emplace_back(), numberFlag("nodes", count, 64));
  }
  EXO_ASSIGN(const Model model, openModel(FLAGS_card));
  std::printf("weights: %s\n", model.checkpoint ? "of the checkpoint" : "made up, which the time to load includes");
  int failures = 0;
  for (const Quantization quantization : quantizations) EXO_TRY(measureAll(model, quantization, nodes, failures));
  if (failures > 0) return makeError(ErrorCode::kUnsupported, failures, " configurations failed");
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_model: speed of a whole model on this machine, beside its roofs",
                                  {"card", "quants", "nodes", "strategy", "transport", "weight_cache_dir", "isa", "prompt", "generate", "repeat", "threads", "timeout"}, exo::bench::run);
}
