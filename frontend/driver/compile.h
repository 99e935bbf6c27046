// compile(): from a model and a topology to a plan directory. The one place that ties frontend, passes and codegen together;
// exoc's commands are thin over it, and a running cluster can replan with it.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codegen/plan.h"
#include "frontend/driver/model.h"
#include "passes/pass.h"
#include "passes/planner/planner.h"

namespace exo {

struct CompileOptions {
  Quantization quantization = Quantization::kKeep;
  int64_t max_context = 0;                // 0: the model's own, at most kDefaultContext
  Strategy strategy;
  Topology topology;
  WireChoice wire = WireChoice::kF32;     // of all_reduce in prefill
  int64_t max_step_tokens = 256;          // tokens of the largest step: a prompt is processed in chunks of this many
  int64_t max_rows = 256;                 // rows of logits of the largest step
  int64_t max_sequences = 1;              // that decode together: what is predicted, and what the KV cache is for
  int64_t cache_tokens = 0;               // positions of KV cache that they share; 0: max_context for each
  std::optional<uint64_t> random_seed;    // weights made up from it
  /// A dump to go on from, instead of importing the model: its text and the pass it was written after.
  std::optional<std::pair<std::string, Module>> resume;
};
constexpr int64_t kDefaultContext = 4096;

struct Compiled {
  plan::Plan plan;
  PlannerResult planned;
  Notes notes;
  std::vector<int64_t> arena_bytes;       // per rank
  /// "import", then every pass that ran, with its result.
  std::vector<std::pair<std::string, Module>> dumps;
  std::string report_text;
  nlohmann::json report;
};

/// Errors: whatever is wrong with model, topology or request; kDoesNotFit with what would fit.
Result<Compiled> compile(const Model& model, const CompileOptions& options);

enum class DumpIr { kNone, kAll, kOne };
struct DumpChoice {
  DumpIr what = DumpIr::kAll;
  std::string pass;                       // kOne
};
Result<DumpChoice> parseDumpChoice(const std::string& text);

/// Error when `directory` exists and is neither empty nor a plan: it would not be overwritten.
Status checkReplaceable(const std::filesystem::path& directory);

/// Writes plan.pb, report.txt, report.json and ir/NN-pass.exoir: into a directory beside, which is then renamed. An existing
/// `directory` is replaced only if it is empty or a plan.
Status writePlan(const Compiled& compiled, const DumpChoice& dump, const std::filesystem::path& directory);

/// First line of a dump; says after which pass it was written.
std::string dumpHeader(const std::string& pass);
/// The pass named in a dump's first line. Error kInvalidInput without one.
Result<std::string> passOfDump(const std::string& text, const std::string& file);

}  // namespace exo
