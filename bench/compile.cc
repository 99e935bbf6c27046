// How long compiling a model takes, from its card: no weights, no machines. Import of the graph, the planner and the whole of
// compile() apart, and the passes by name, each with its verification.
#include <gflags/gflags.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <vector>

#include "bench/flags.h"
#include "bench/statistics.h"
#include "frontend/driver/compile.h"
#include "frontend/topology/topology.h"

DEFINE_string(models, "llama-3.2-1b:2,qwen3-30b-a3b:2,llama-3.1-70b:4,qwen3-235b-a22b:4,llama-3.1-405b:8", "card:nodes, or card:topology.json");
DEFINE_string(strategy, "auto", "auto, tp, pp, or a grid such as tp2pp2");
DEFINE_string(quant, "q4", "quantisation");
DEFINE_int64(repeat, 3, "runs of which the median is taken");
DEFINE_bool(passes, false, "a line per pass");

namespace exo::bench {
namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Samples {
  std::vector<double> import, planner, all;
  std::vector<std::pair<std::string, std::vector<double>>> passes;  // in order
};

Result<Topology> topologyOf(const std::string& nodes) {
  if (nodes.ends_with(".json")) return readTopology(nodes);
  EXO_ASSIGN(const int count, numberFlag("models", nodes, static_cast<int>(kMaxTopologyNodes)));
  return loopbackTopology(count);
}

/// The same steps as compile(), with a clock between the passes.
Status timePasses(Graph graph, const CompileOptions& options, const ParallelPlan& plan, Samples& samples) {
  std::vector<const Pass*> passes;
  for (const Pass& pass : allPasses()) passes.push_back(&pass);
  samples.passes.resize(passes.size());
  Notes notes;
  Clock::time_point before = Clock::now();
  const auto note = [&](size_t index, const Pass& pass, const Module&) -> Status {
    samples.passes[index].first = std::string(pass.name);
    samples.passes[index].second.push_back(secondsSince(before));
    before = Clock::now();
    return {};
  };
  EXO_TRY(runPasses(Module{{std::move(graph)}}, passes, {plan, options.max_step_tokens, options.max_rows}, notes, note));
  return {};
}

Status sample(const Model& model, const CompileOptions& options, Samples& samples) {
  Clock::time_point start = Clock::now();
  EXO_ASSIGN(Graph graph, importGraph(model, options.quantization, kDefaultContext));
  samples.import.push_back(secondsSince(start));
  PlanRequest request;
  request.strategy = options.strategy;
  request.max_context = kDefaultContext;
  request.max_step_tokens = options.max_step_tokens;
  start = Clock::now();
  EXO_ASSIGN(const PlannerResult planned, makePlan(graph, options.topology, request));
  samples.planner.push_back(secondsSince(start));
  if (FLAGS_passes) EXO_TRY(timePasses(std::move(graph), options, planned.plan, samples));
  start = Clock::now();
  EXO_TRY(compile(model, options));
  samples.all.push_back(secondsSince(start));
  return {};
}

Status measure(const std::string& item) {
  const size_t colon = item.find(':');
  if (colon == std::string::npos) return invalid("--models: expected card:nodes, got \"", item, "\"");
  CompileOptions options;
  EXO_ASSIGN(options.topology, topologyOf(item.substr(colon + 1)));
  EXO_ASSIGN(options.quantization, parseQuantization(FLAGS_quant));
  EXO_ASSIGN(options.strategy, parseStrategy(FLAGS_strategy));
  options.max_context = kDefaultContext;
  EXO_ASSIGN(const Model model, openModel(item.substr(0, colon)));
  Samples samples;
  for (int64_t run = 0; run < FLAGS_repeat; ++run) EXO_TRY(sample(model, options, samples));
  std::printf("%-24s import %s s, planner %s s, all of compile %s s\n", item.c_str(), text(spreadOf(samples.import), 3).c_str(),
              text(spreadOf(samples.planner), 3).c_str(), text(spreadOf(samples.all), 3).c_str());
  for (const auto& [pass, seconds] : samples.passes) std::printf("  %-24s %s s\n", pass.c_str(), text(spreadOf(seconds), 4).c_str());
  std::fflush(stdout);
  return {};
}

Status run() {
  EXO_TRY(checkRange("repeat", FLAGS_repeat, 1, 1000));
  EXO_ASSIGN(const auto models, listFlag("models", FLAGS_models));
  for (const std::string& item : models) {
    const Status status = measure(item);
    if (!status.ok()) return Error(status.error()).note("while measuring " + item);
  }
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_compile: time to plan and compile models", {"models", "strategy", "quant", "repeat", "passes"}, exo::bench::run);
}
