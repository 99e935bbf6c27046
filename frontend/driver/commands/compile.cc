// exoc compile: a model and a topology → a plan directory.
#include <gflags/gflags.h>

#include <fstream>
#include <iostream>

#include "frontend/driver/commands/commands.h"
#include "frontend/flags/flags.h"
#include "frontend/topology/topology.h"
#include "ir/text.h"

DEFINE_string(nodes, "1", "topology file (topo.json), or a number of equal nodes on this machine");
DEFINE_string(out, "", "directory to write the plan to");
DEFINE_string(quant, "keep", "weights: keep (as stored), f32, bf16, q8 or q4 (blocks of 32)");
DEFINE_int64(max_context, 0, "positions per sequence; 0: the model's own, at most 4096");
DEFINE_int64(max_sequences, 1, "sequences that decode together: what is predicted, and what the KV cache has room for");
DEFINE_int64(cache_tokens, 0, "positions of KV cache that they share; 0: --max_context for each");
DEFINE_string(strategy, "auto", "auto, tp, pp, or a grid such as tp2pp2");
DEFINE_string(wire, "f32", "how sums of prompts travel between nodes: f32 (the same answer on any number of nodes), bf16 (half the bytes, rounded), or auto (bf16 where the plan expects it to pay)");
DEFINE_string(dump_ir, "all", "IR to keep in the plan: none, all, or the name of a pass");
DEFINE_string(from, "", "go on from this dump (ir/NN-pass.exoir), edited or not, instead of importing the model");
DEFINE_string(random_weights, "", "make weights up from this seed (a number); the same on any number of nodes");
DEFINE_int64(step_tokens, 256, "tokens of the largest step: prompts are processed in chunks of this many");

namespace exo {

namespace {

Status readResume(CompileOptions& options) {
  if (FLAGS_from.empty()) return {};
  EXO_ASSIGN(const std::string text, readTextFile(FLAGS_from));
  EXO_ASSIGN(const std::string pass, passOfDump(text, FLAGS_from));
  EXO_ASSIGN(Module module, parseModule(text, FLAGS_from));
  options.resume = {pass, std::move(module)};
  return {};
}

}  // namespace

std::vector<std::string> compileFlags() { return {"nodes", "quant", "max_context", "strategy", "dump_ir", "from", "random_weights", "step_tokens", "max_sequences", "cache_tokens", "wire"}; }

Result<Topology> topologyFromFlag(const std::string& nodes) {
  const bool number = !nodes.empty() && nodes.find_first_not_of("0123456789") == std::string::npos;
  if (!number) return readTopology(nodes);
  const int count = nodes.size() > 4 ? -1 : std::stoi(nodes);
  if (count < 1 || count > static_cast<int>(kMaxTopologyNodes)) return invalid("--nodes: expected 1 to ", kMaxTopologyNodes, " nodes or a topology file, got ", nodes);
  return loopbackTopology(count);
}

Result<CompileOptions> compileOptionsFromFlags() {
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(FLAGS_quant));
  EXO_ASSIGN(options.strategy, parseStrategy(FLAGS_strategy));
  EXO_ASSIGN(options.wire, parseWireChoice(FLAGS_wire));
  EXO_ASSIGN(options.topology, topologyFromFlag(FLAGS_nodes));
  EXO_ASSIGN(options.random_seed, parseSeed("random_weights", FLAGS_random_weights));
  options.max_context = FLAGS_max_context;
  if (FLAGS_max_context < 0) return invalid("--max_context: expected 0 or more, got ", FLAGS_max_context);
  if (FLAGS_step_tokens < 1 || FLAGS_step_tokens > 65536) return invalid("--step_tokens: expected 1 to 65536, got ", FLAGS_step_tokens);
  options.max_step_tokens = options.max_rows = FLAGS_step_tokens;
  options.max_sequences = FLAGS_max_sequences;
  if (FLAGS_cache_tokens < 0) return invalid("--cache_tokens: expected 0 or more, got ", FLAGS_cache_tokens);
  options.cache_tokens = FLAGS_cache_tokens;
  EXO_TRY(readResume(options));
  return options;
}

Result<std::string> onlyArgument(const std::vector<std::string>& arguments, const std::string& what) {
  if (arguments.size() == 1) return arguments[0];
  return invalid("expected one argument, ", what, ", got ", arguments.size());
}

Result<std::string> readTextFile(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return makeError(ErrorCode::kNotFound, "cannot read ", path, ": ", error.message());
  if (size > (std::uintmax_t{1} << 30)) return invalid(path, ": expected at most 1 GiB, got ", size, " bytes");
  std::ifstream file(path, std::ios::binary);
  std::string text(size, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) return makeError(ErrorCode::kIo, "cannot read ", path);
  return text;
}

Result<int> runCompile(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string spec, onlyArgument(arguments, "a model directory, GGUF file or card"));
  if (FLAGS_out.empty()) return invalid("--out: expected a directory to write the plan to");
  EXO_TRY(checkReplaceable(FLAGS_out));
  EXO_ASSIGN(const DumpChoice dump, parseDumpChoice(FLAGS_dump_ir));
  EXO_ASSIGN(const CompileOptions options, compileOptionsFromFlags());
  EXO_ASSIGN(const Model model, openModel(spec));
  EXO_ASSIGN(const Compiled compiled, compile(model, options));
  EXO_TRY(writePlan(compiled, dump, FLAGS_out));
  std::cout << compiled.report_text;
  std::cerr << "plan written to " << FLAGS_out << "\n";
  return 0;
}

}  // namespace exo
