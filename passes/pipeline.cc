// The pipeline as a table of contents, and the pass manager around it.
#include <algorithm>
#include <array>
#include <numeric>

#include "passes/canonicalize.h"
#include "passes/choose_parallelism.h"
#include "passes/fuse.h"
#include "passes/insert_collectives.h"
#include "passes/partition.h"
#include "passes/pass.h"
#include "passes/plan_memory.h"
#include "passes/propagate_shardings.h"
#include "passes/schedule.h"
#include "passes/select_kernels.h"

namespace exo {

namespace {

/// The one global graph of a module.
Result<const Graph*> globalGraph(const Module& module) {
  if (module.graphs.size() != 1 || module.graphs[0].rank) return invalid("expected one global graph, got ", module.graphs.size(), " graphs", module.graphs.empty() || !module.graphs[0].rank ? "" : " of ranks");
  return &module.graphs[0];
}

template <class F>
Result<Module> onGlobal(const Module& module, F pass) {
  EXO_ASSIGN(const Graph* graph, globalGraph(module));
  Result<Graph> result = pass(*graph);
  if (!result.ok()) return std::move(result).error();
  return Module{{std::move(result).value()}};
}

template <class F>
Result<Module> onEachRank(const Module& module, F pass) {
  Module result;
  for (const Graph& graph : module.graphs) {
    if (!graph.rank) return invalid("expected local graphs, got the global @", graph.name);
    result.graphs.push_back(pass(graph));
  }
  return result;
}

StepSize largestStep(const PassOptions& options) { return {options.max_tokens, options.max_tokens, options.max_rows}; }

/// Without a plan: equal shares over the mesh that the graph names.
ParallelPlan planFor(const Graph& graph, const PassOptions& options) {
  if (!options.plan.stages.empty()) return options.plan;
  ParallelPlan plan = equalPlan(static_cast<int>(graph.blocks.size()), graph.mesh.numStages(), 1);
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const int size = graph.mesh.stage_sizes[s], first = graph.mesh.firstRank(static_cast<int>(s));
    plan.stages[s].nodes.resize(static_cast<size_t>(size));
    std::iota(plan.stages[s].nodes.begin(), plan.stages[s].nodes.end(), first);
    plan.stages[s].shares.assign(static_cast<size_t>(size), 1.0 / size);
  }
  return plan;
}

Result<Module> runCanonicalize(const Module& m, const PassOptions&, Notes&) { return onGlobal(m, [](const Graph& g) { return Result<Graph>(canonicalize(g)); }); }
Result<Module> runChoose(const Module& m, const PassOptions& options, Notes& notes) {
  return onGlobal(m, [&](const Graph& g) { return chooseParallelism(g, planFor(g, options), notes); });
}
Result<Module> runPropagate(const Module& m, const PassOptions&, Notes&) { return onGlobal(m, [](const Graph& g) { return Result<Graph>(propagateShardings(g)); }); }
Result<Module> runCollectives(const Module& m, const PassOptions&, Notes&) { return onGlobal(m, insertCollectives); }
Result<Module> runPartition(const Module& m, const PassOptions&, Notes&) {
  EXO_ASSIGN(const Graph* graph, globalGraph(m));
  return partition(*graph);
}
Result<Module> runFuse(const Module& m, const PassOptions&, Notes&) { return onEachRank(m, fuse); }
Result<Module> runSelect(const Module& m, const PassOptions&, Notes&) { return onEachRank(m, selectKernels); }
Result<Module> runSchedule(const Module& m, const PassOptions&, Notes&) { return onEachRank(m, schedule); }
constexpr int64_t kMaxStep = 1'000'000;  // as the text form assumes when it bounds sizes

Result<Module> runMemory(const Module& m, const PassOptions& options, Notes&) {
  for (int64_t size : {options.max_tokens, options.max_rows}) {
    if (size < 1 || size > kMaxStep) return invalid("plan_memory: tokens and rows of the largest step must be 1 to ", kMaxStep, ", got ", size);
  }
  EXO_ASSIGN(Module result, onEachRank(m, [&](const Graph& g) { return planMemory(g, largestStep(options)); }));
  for (const Graph& graph : result.graphs) EXO_TRY(verifyMemory(graph, largestStep(options)));
  return result;
}

constexpr std::array kPasses = {
    Pass{"canonicalize", runCanonicalize, Stage::kImported},
    // The planner's decision becomes annotations on weights and caches: a handful per block.
    Pass{"choose_parallelism", runChoose, Stage::kImported},
    // Everything else follows from them along equal dimensions.
    Pass{"propagate_shardings", runPropagate, Stage::kImported},
    // Every value has a sharding, so each change of sharding can be made explicit.
    Pass{"insert_collectives", runCollectives, Stage::kSharded},
    // From here on there is one graph per rank, with local shapes.
    Pass{"partition", runPartition, Stage::kPartitioned},
    Pass{"select_kernels", runSelect, Stage::kPartitioned},
    // After select_kernels: a quantisation joins the region that makes its values.
    Pass{"fuse", runFuse, Stage::kPartitioned},
    Pass{"schedule", runSchedule, Stage::kPartitioned},
    // Last, because live ranges are counted in scheduled regions.
    Pass{"plan_memory", runMemory, Stage::kPartitioned},
};

bool sameName(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return x == y || (x == '-' && y == '_') || (x == '_' && y == '-'); });
}

}  // namespace

std::span<const Pass> allPasses() { return kPasses; }

const Pass* findPass(std::string_view name) {
  const auto found = std::find_if(kPasses.begin(), kPasses.end(), [&](const Pass& pass) { return sameName(pass.name, name); });
  return found == kPasses.end() ? nullptr : &*found;
}

Result<Module> runPasses(Module module, std::span<const Pass* const> passes, const PassOptions& options, Notes& notes, const AfterPass& after) {
  for (const Pass* pass : passes) {
    const std::string where = "in pass " + std::string(pass->name);
    Result<Module> (*run)(const Module&, const PassOptions&, Notes&) = pass->run;
    auto result = run(module, options, notes);
    if (!result.ok()) return std::move(result).error().note(where);
    module = std::move(result).value();
    if (auto s = verify(module, pass->stage); !s.ok()) return std::move(s).error().note(where);
    if (after) EXO_TRY(after(static_cast<size_t>(pass - kPasses.data()), *pass, module));
  }
  return module;
}

}  // namespace exo
