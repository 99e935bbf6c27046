// Passes: functions from module to module, listed in one table (pipeline.cc). The pass manager runs, verifies and dumps.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/verify.h"
#include "passes/parallel_plan.h"

namespace exo {

/// What passes are told besides the module. Constant during a compilation.
struct PassOptions {
  ParallelPlan plan;            // choose_parallelism; without stages: equal shares over the mesh the graph names
  int64_t max_tokens = 256;     // plan_memory: T of the largest step
  int64_t max_rows = 256;       // R of the largest step
};

/// Decisions a person should know: splits given up, things replicated. They end in the report.
using Notes = std::vector<std::string>;

struct Pass {
  std::string_view name;        // file name, dump name and flag
  Result<Module> (*run)(const Module&, const PassOptions&, Notes&);
  Stage stage;                  // what the verifier holds after it
};

/// canonicalize ... plan_memory, in order. `import` is the frontend's, `emit` codegen's.
std::span<const Pass> allPasses();
/// By name; '-' and '_' are the same. Null when there is none.
const Pass* findPass(std::string_view name);

/// Called with each pass's index in allPasses() and its result.
using AfterPass = std::function<Status(size_t index, const Pass&, const Module&)>;

/// Runs the passes in order, verifying after each. Errors name the pass.
Result<Module> runPasses(Module module, std::span<const Pass* const> passes, const PassOptions& options, Notes& notes, const AfterPass& after = {});

}  // namespace exo
