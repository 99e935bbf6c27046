#include "frontend/driver/compile.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "codegen/emit_program.h"
#include "codegen/layout.h"
#include "frontend/config/suggest.h"
#include "frontend/driver/generation_config.h"
#include "frontend/driver/stored_formats.h"
#include "frontend/topology/topology.h"
#include "ir/text.h"
#include "passes/plan_memory.h"
#include "passes/planner/report.h"

namespace exo {

namespace fs = std::filesystem;

namespace {

Result<int64_t> contextFor(const Model& model, int64_t asked) {
  const int64_t most = model.config.max_position_embeddings;
  if (asked == 0) return most > 0 ? std::min(most, kDefaultContext) : kDefaultContext;
  if (asked < 1) return invalid("--max_context: expected at least 1, got ", asked);
  if (most > 0 && asked > most) return invalid("--max_context: this model knows at most ", most, " positions, got ", asked);
  return asked;
}

/// The KV cache as it is asked for, checked.
Status checkSequences(const CompileOptions& options, int64_t max_context) {
  if (options.max_sequences < 1 || options.max_sequences > options.max_step_tokens)
    return invalid("--max_sequences: expected 1 to ", options.max_step_tokens, ", the tokens of a step (--step_tokens), got ", options.max_sequences);
  const int64_t most = max_context * options.max_sequences;
  if (options.cache_tokens != 0 && (options.cache_tokens < max_context || options.cache_tokens > most))
    return invalid("--cache_tokens: expected ", max_context, " (the context, --max_context) to ", most, " (that for each of --max_sequences), got ", options.cache_tokens);
  return {};
}

int64_t pagesFor(int64_t positions) { return (positions + codegen::kPageTokens - 1) / codegen::kPageTokens; }

/// A sequence's last page is its own.
int64_t cachePages(const CompileOptions& options, int64_t max_context) {
  return options.cache_tokens > 0 ? pagesFor(options.cache_tokens) : options.max_sequences * pagesFor(max_context);
}

StepSize largestStep(const CompileOptions& options) { return {options.max_step_tokens, options.max_step_tokens, options.max_rows}; }

/// Names of the passes still to run: all, or those behind the dump to resume from.
Result<std::vector<const Pass*>> remainingPasses(const CompileOptions& options) {
  std::vector<const Pass*> passes;
  for (const Pass& pass : allPasses()) passes.push_back(&pass);
  if (!options.resume || options.resume->first == "import") return passes;
  const Pass* last = findPass(options.resume->first);
  if (!last) return invalid("no pass is called '", options.resume->first, "'");
  passes.erase(passes.begin(), passes.begin() + (last - allPasses().data()) + 1);
  return passes;
}

class Compiler {
 public:
  Compiler(const Model& model, const CompileOptions& options) : model_(model), options_(options) {}

  Result<Compiled> run() {
    EXO_ASSIGN(max_context_, contextFor(model_, options_.max_context));
    EXO_TRY(checkSequences(options_, max_context_));
    EXO_ASSIGN(Graph imported, importGraph(model_, options_.quantization, max_context_));
    EXO_TRY(verify(imported));
    for (const std::string& part : model_.config.ignored) result_.notes.push_back("ignored: " + part + " of the model's file; only text is read and written");
    if (model_.checkpoint && !options_.random_seed)
      for (const std::string& line : storedFormats(imported, *model_.checkpoint)) result_.notes.push_back("weights: " + line);
    EXO_TRY(choosePlan(imported));
    EXO_ASSIGN(Module module, lower(std::move(imported)));
    EXO_TRY(emit(module));
    report(module);
    return std::move(result_);
  }

 private:
  Status choosePlan(const Graph& graph) {
    PlanRequest request;
    request.strategy = options_.strategy;
    request.max_context = max_context_;
    request.max_step_tokens = options_.max_step_tokens;
    request.batch = options_.max_sequences;
    request.cache_tokens = options_.cache_tokens;
    request.wire = options_.wire;
    EXO_ASSIGN(result_.planned, makePlan(graph, options_.topology, request));
    return {};
  }

  Result<Module> lower(Graph imported) {
    Module module{{std::move(imported)}};
    if (options_.resume) {
      EXO_TRY(checkResumed(module.graphs[0]));
      module = options_.resume->second;
    }
    // A dump that was gone on from is kept as it was given: it may have been edited.
    result_.dumps.emplace_back(options_.resume ? options_.resume->first : "import", module);
    EXO_TRY(checkMesh(module));
    EXO_ASSIGN(const auto passes, remainingPasses(options_));
    const PassOptions pass_options{result_.planned.plan, options_.max_step_tokens, options_.max_rows};
    const auto keep = [&](size_t, const Pass& pass, const Module& after) -> Status {
      result_.dumps.emplace_back(std::string(pass.name), after);
      return {};
    };
    return runPasses(std::move(module), passes, pass_options, result_.notes, keep);
  }
  /// Weights and caches of a dump are those that model and flags give: tensors, encodings, context.
  Status checkResumed(const Graph& imported) const {
    std::map<std::string, Encoding> encodings;
    for (const Node& node : imported.nodes) {
      if (node.op == Op::kWeight) encodings[std::get<WeightAttrs>(node.attrs).tensor] = imported.value(node.results[0]).type.encoding;
    }
    for (const Graph& graph : options_.resume->second.graphs) {
      if (model_.checkpoint) EXO_TRY(checkWeights(graph, *model_.checkpoint));
      for (const Node& node : graph.nodes) {
        if (node.op != Op::kWeight && node.op != Op::kCache) continue;
        const Value& value = graph.value(node.results[0]);
        if (node.op == Op::kCache) {
          if (value.type.shape[0] != Dim(max_context_)) return invalid("--from: the dump's @", value.name, " is for a context of ", toString(value.type.shape[0]), ", asked for is ", max_context_, "; pass the same --max_context");
          continue;
        }
        const auto found = encodings.find(std::get<WeightAttrs>(node.attrs).tensor);
        if (found == encodings.end()) return invalid("--from: ", model_.name, " has no tensor like @", value.name, " of the dump");
        if (found->second != value.type.encoding) return invalid("--from: @", value.name, " of the dump is ", toString(value.type), ", the model and --quant give ", name(found->second), "; pass the same --quant");
      }
    }
    return {};
  }
  /// A dump behind choose_parallelism fixes the mesh; the planner must have come to the same one.
  Status checkMesh(const Module& module) const {
    if (!options_.resume || options_.resume->first == "import" || options_.resume->first == "canonicalize") return {};
    std::vector<int> sizes;
    for (const StagePlan& stage : result_.planned.plan.stages) sizes.push_back(static_cast<int>(stage.nodes.size()));
    const Mesh planned{sizes};
    if (module.graphs[0].mesh == planned) return {};
    return invalid("the dump is for ", toString(module.graphs[0].mesh), ", the topology and strategy asked for give ", toString(planned), "; pass the same --nodes and --strategy as it was compiled with");
  }

  Status emit(const Module& module) {
    plan::Plan& plan = result_.plan;
    for (const Graph& graph : module.graphs) {
      const int64_t arena = arenaBytes(graph, largestStep(options_));
      result_.arena_bytes.push_back(arena);
      const codegen::ProgramLimits limits{options_.max_step_tokens, options_.max_rows, max_context_, cachePages(options_, max_context_), model_.config.vocab_size, arena};
      EXO_ASSIGN(*plan.add_programs(), codegen::emitProgram(graph, limits));
    }
    plan.set_model(model_.name);
    plan.set_model_directory(model_.directory.string());
    if (options_.random_seed) plan.set_random_seed(*options_.random_seed);
    plan.set_quantization(name(options_.quantization));
    plan.set_max_context(static_cast<uint64_t>(max_context_));
    addNodes(plan);
    addReduces(plan);
    EXO_ASSIGN(const GenerationConfig generation, readGenerationConfig(model_));
    for (int32_t id : generation.eos_ids) plan.add_eos_ids(id);
    if (generation.bos_id) plan.set_bos_id(*generation.bos_id);
    return {};
  }
  void addNodes(plan::Plan& plan) const {
    for (const TopologyNode& node : options_.topology.nodes) {
      plan::Node& added = *plan.add_nodes();
      added.set_name(node.name);
      added.set_address(node.address);
      added.set_memory_bytes(node.memory_gib * 1024 * 1024 * 1024);
      added.set_cores(static_cast<uint32_t>(node.cores));
      added.set_read_gb_per_s(node.read_gb_per_s);
      added.set_int8_gop_per_s(node.int8_gop_per_s);
      added.set_f32_gflop_per_s(node.f32_gflop_per_s);
    }
    addLinks(plan);
    uint32_t rank = 0;
    for (const StagePlan& stage : result_.planned.plan.stages) {
      plan.add_stage_sizes(static_cast<uint32_t>(stage.nodes.size()));
      for (int node : stage.nodes) plan.mutable_nodes(node)->set_rank(rank++);
    }
  }
  void addLinks(plan::Plan& plan) const {
    for (const TopologyLink& link : options_.topology.links) {
      plan::Link& added = *plan.add_links();
      added.set_from(link.from);
      added.set_to(link.to);
      added.set_transport(std::string(toString(link.transport)));
      added.set_latency_us(link.latency_us);
      added.set_bandwidth_gbit_per_s(link.bandwidth_gbit_per_s);
    }
  }
  /// Every rank's program has its own stage's choice: ranks of a stage follow each other.
  void addReduces(plan::Plan& plan) const {
    static_assert(static_cast<int>(ReduceAlgorithm::kHierarchical) == program::ReduceChoice::HIERARCHICAL);
    uint32_t first = 0;
    for (size_t s = 0; s < result_.planned.reduces.size(); ++s) {
      const auto size = static_cast<uint32_t>(result_.planned.plan.stages[s].nodes.size());
      program::ReduceChoice choice;
      for (uint32_t rank = first; rank < first + size; ++rank) choice.add_ranks(rank);
      for (const ReduceStep& step : result_.planned.reduces[s].steps) {
        auto* const added = choice.add_steps();
        added->set_algorithm(static_cast<program::ReduceChoice::Algorithm>(step.algorithm));
        if (step.up_to_bytes) added->set_up_to_bytes(*step.up_to_bytes);
      }
      for (uint32_t rank = first; rank < first + size; ++rank) {
        program::Program& program = *plan.mutable_programs(static_cast<int>(rank));
        if (size > 2 && choice.steps_size() > 0) *program.add_reduces() = choice;
        if (size > 1) program.set_bf16_above_bytes(result_.planned.bf16_above_bytes);
      }
      first += size;
    }
  }
  void report(const Module& module) {
    if (model_.config.rope.type == RopeType::kDynamic) result_.notes.push_back("dynamic rope scaling: frequencies are fixed for a context of " + std::to_string(max_context_));
    if (model_.config.rope.type == RopeType::kLongRope) {
      const bool is_long = max_context_ > model_.config.rope.original_max_position_embeddings;
      result_.notes.push_back(std::string("longrope: the ") + (is_long ? "long" : "short") + " factors, for a context of " + std::to_string(max_context_));
    }
    result_.report_text = reportText(result_.planned, module, result_.arena_bytes, result_.notes);
    result_.report = reportJson(result_.planned, module, result_.arena_bytes, result_.notes);
  }

  const Model& model_;
  const CompileOptions& options_;
  int64_t max_context_ = 0;
  Compiled result_;
};

Status writeText(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return makeError(ErrorCode::kIo, "cannot write ", path.string(), " (is the disk full?)");
  return {};
}

Status writeFiles(const Compiled& compiled, const DumpChoice& dump, const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory / "ir", error);
  if (error) return makeError(ErrorCode::kIo, "cannot create ", directory.string(), ": ", error.message());
  for (size_t i = 0; i < compiled.dumps.size(); ++i) {
    const auto& [pass, module] = compiled.dumps[i];
    if (dump.what == DumpIr::kNone || (dump.what == DumpIr::kOne && pass != dump.pass)) continue;
    // Numbered by place in the pipeline, also when a compilation started behind its beginning.
    const Pass* known = findPass(pass);
    const size_t number = known ? static_cast<size_t>(known - allPasses().data()) + 1 : 0;
    const std::string file = (number < 10 ? "0" : "") + std::to_string(number) + "-" + pass + ".exoir";
    EXO_TRY(writeText(directory / "ir" / file, dumpHeader(pass) + print(module)));
  }
  EXO_TRY(writeText(directory / "report.txt", compiled.report_text));
  EXO_TRY(writeText(directory / "report.json", compiled.report.dump(2) + "\n"));
  return savePlan(compiled.plan, directory);
}

}  // namespace

Result<Compiled> compile(const Model& model, const CompileOptions& options) { return Compiler(model, options).run(); }

Result<DumpChoice> parseDumpChoice(const std::string& text) {
  if (text == "none") return DumpChoice{DumpIr::kNone, ""};
  if (text == "all") return DumpChoice{DumpIr::kAll, ""};
  if (text == "import") return DumpChoice{DumpIr::kOne, text};
  if (const Pass* pass = findPass(text)) return DumpChoice{DumpIr::kOne, std::string(pass->name)};
  std::vector<std::string> known = {"none", "all", "import"};
  for (const Pass& pass : allPasses()) known.emplace_back(pass.name);
  return invalid("--dump_ir: expected none, all or the name of a pass, got \"", text, '"', didYouMean(text, known));
}

namespace {

/// Files that writeFiles makes; anything else in a plan's directory is somebody's own.
bool isPlanFile(const fs::path& relative) {
  const std::string name = relative.filename().string();
  if (!relative.has_parent_path()) return name == "plan.pb" || name == "report.txt" || name == "report.json" || name == "ir";
  const std::string pass = name.size() > 9 && name.ends_with(".exoir") ? name.substr(3, name.size() - 9) : "";
  return relative.parent_path() == "ir" && (pass == "import" || findPass(pass) != nullptr);
}

}  // namespace

Status checkReplaceable(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) return {};
  const bool is_plan = fs::is_directory(directory, error) && (fs::is_empty(directory, error) || fs::exists(directory / "plan.pb", error));
  if (!is_plan) return invalid("--out ", directory.string(), ": exists and is not a plan; it will not be overwritten");
  for (auto entry = fs::recursive_directory_iterator(directory, error); !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const fs::path relative = fs::relative(entry->path(), directory, error);
    if (!isPlanFile(relative)) return invalid("--out ", directory.string(), ": holds ", relative.string(), ", which is no part of a plan; it will not be overwritten");
  }
  return {};
}

Status writePlan(const Compiled& compiled, const DumpChoice& dump, const fs::path& directory) {
  EXO_TRY(checkReplaceable(directory));
  const std::string suffix = ".tmp." + std::to_string(::getpid());
  fs::path target = directory;
  if (target.filename().empty()) target = target.parent_path();
  const fs::path beside = target.string() + suffix, old = target.string() + suffix + ".old";
  std::error_code error;
  Status status = writeFiles(compiled, dump, beside);
  if (status.ok() && fs::exists(target, error)) {
    fs::rename(target, old, error);
    if (error) status = makeError(ErrorCode::kIo, "cannot replace ", target.string(), ": ", error.message());
  }
  if (status.ok()) {
    fs::rename(beside, target, error);
    std::error_code back;
    if (error) {
      status = makeError(ErrorCode::kIo, "cannot write ", target.string(), ": ", error.message());
      fs::rename(old, target, back);  // what was there stays there
    }
  }
  fs::remove_all(beside, error);
  if (status.ok()) fs::remove_all(old, error);
  return status;
}

std::string dumpHeader(const std::string& pass) { return "// after " + pass + "\n"; }

Result<std::string> passOfDump(const std::string& text, const std::string& file) {
  const std::string prefix = "// after ";
  const std::string line = text.substr(0, text.find('\n'));
  const std::string pass = line.starts_with(prefix) ? line.substr(prefix.size()) : "";
  if (pass != "import" && !findPass(pass)) return invalid(file, ":1: expected the line \"// after PASS\" of a dump, got \"", line.substr(0, 60), '"');
  return pass;
}

}  // namespace exo
