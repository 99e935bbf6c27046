// exoc verify: proves a plan, then (given weights) runs it and its one-node twin and compares the logits.
#include <gflags/gflags.h>

#include <cmath>
#include <iostream>

#include "frontend/driver/commands/commands.h"
#include "frontend/driver/interrupt.h"
#include "frontend/driver/local_cluster.h"
#include "frontend/driver/plan_source.h"
#include "frontend/driver/text_session.h"
#include "frontend/driver/verify.h"
#include "ir/text.h"
#include "passes/partition.h"
#include "passes/plan_memory.h"

DEFINE_bool(static_only, false, "prove, but do not run");
DECLARE_int32(threads);
DECLARE_string(isa);
DECLARE_int32(timeout);

namespace exo {

namespace {

constexpr int kPromptTokens = 24;
/// Logits of N nodes against one, as a part of the logits' range. f32 sums in another order: far below the first; int8
/// activations may round the other way when their input differs in the last bit: the second.
constexpr double kToleranceExact = 1e-3, kToleranceInt8 = 5e-2;

class Report {
 public:
  void check(const std::string& what, const Status& status) {
    std::cout << (status.ok() ? "ok      " : "FAILED  ") << what << "\n";
    if (status.ok()) return;
    std::cout << "        " << status.error() << "\n";
    failed_ = true;
  }
  bool failed() const { return failed_; }

 private:
  bool failed_ = false;
};

bool hasDumps(const std::filesystem::path& directory) {
  std::error_code error;
  return std::filesystem::exists(directory / "ir" / "04-insert_collectives.exoir", error) && std::filesystem::exists(directory / "ir" / "09-plan_memory.exoir", error);
}

/// Coverage against the shardings, and memory, from the dumps.
Status proveDumps(const std::filesystem::path& directory, const plan::Plan& plan) {
  EXO_ASSIGN(const Module global, readDump(directory, "insert_collectives"));
  EXO_ASSIGN(const Module local, readDump(directory, "plan_memory"));
  EXO_TRY(verify(global, Stage::kSharded));
  EXO_TRY(verify(local, Stage::kPartitioned));
  EXO_TRY(proveCoverage(global.graphs[0], local));
  const auto tokens = static_cast<int64_t>(plan.programs(0).max_tokens()), rows = static_cast<int64_t>(plan.programs(0).max_rows());
  for (const Graph& graph : local.graphs) EXO_TRY(verifyMemory(graph, {tokens, tokens, rows}));
  return {};
}

std::vector<int32_t> promptFor(const plan::Plan& plan) {
  std::vector<int32_t> prompt;
  const auto vocabulary = plan.programs(0).vocab_size();
  const uint64_t length = std::min<uint64_t>(kPromptTokens, std::max<uint64_t>(1, plan.max_context() - 1));
  for (uint64_t i = 0; i < length; ++i) prompt.push_back(static_cast<int32_t>((i * 2654435761u + 17) % vocabulary));
  return prompt;
}

Result<LogitsTable> logitsOf(const plan::Plan& plan, const std::filesystem::path& directory, const std::atomic<bool>* cancel) {
  LocalClusterOptions options;
  options.threads = FLAGS_threads;
  options.isa = FLAGS_isa;
  options.timeout = std::chrono::seconds(FLAGS_timeout);
  EXO_ASSIGN(const auto nodes, LocalCluster::start(plan, directory, options, cancel));
  EXO_ASSIGN(const cluster::Address address, cluster::parseAddress(nodes->address()));
  EXO_ASSIGN(const auto client, cluster::ControlClient::connect(address, cluster::Security::loopbackOnly()));
  LogitsTable table;
  TextRequest request;
  request.generate.prompt = promptFor(plan);
  request.generate.want_logits = true;
  request.logits = &table;
  EXO_ASSIGN(const TextResult result, generateText(*client, nullptr, request, cancel));
  return table;
}

/// The same model, weights and context on one node.
Result<Compiled> compileTwin(const plan::Plan& plan) {
  EXO_ASSIGN(const Model model, openModel(plan.model_directory().empty() ? plan.model() : plan.model_directory()));
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(plan.quantization()));
  options.max_context = static_cast<int64_t>(plan.max_context());
  options.topology.nodes = {{"one", "127.0.0.1:0", 0, 0, 0, 0, 0}};
  options.max_step_tokens = static_cast<int64_t>(plan.programs(0).max_tokens());
  options.max_rows = static_cast<int64_t>(plan.programs(0).max_rows());
  if (plan.has_random_seed()) options.random_seed = plan.random_seed();
  return compile(model, options);
}

/// Whatever --quant was: quantised checkpoints run in blocks too.
bool hasInt8Weights(const plan::Plan& plan) {
  for (const auto& program : plan.programs())
    for (const auto& weight : program.weights())
      if (weight.encoding() == program::Q8 || weight.encoding() == program::Q4) return true;
  return false;
}

Status compareWithOneNode(const plan::Plan& plan, const std::filesystem::path& directory, const std::atomic<bool>* cancel) {
  EXO_ASSIGN(const Compiled twin, compileTwin(plan));
  EXO_ASSIGN(const TemporaryDirectory temporary, TemporaryDirectory::create());
  EXO_TRY(writePlan(twin, {DumpIr::kNone, ""}, temporary.path() / "plan"));
  EXO_ASSIGN(const LogitsTable one, logitsOf(twin.plan, temporary.path() / "plan", cancel));
  EXO_ASSIGN(const LogitsTable many, logitsOf(plan, directory, cancel));
  if (one.values.size() != many.values.size() || one.values.empty()) return makeError(ErrorCode::kMismatch, "expected ", one.values.size(), " logits, got ", many.values.size());
  double largest = 0, low = one.values[0], high = one.values[0];
  size_t where = 0;
  for (size_t i = 0; i < one.values.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(one.values[i]) - many.values[i]);
    if (!(difference <= largest)) largest = difference, where = i;
    low = std::min(low, static_cast<double>(one.values[i]));
    high = std::max(high, static_cast<double>(one.values[i]));
  }
  std::cout << "        largest logit difference from one node: " << largest << " at position " << where / static_cast<size_t>(one.columns) << ", token " << where % static_cast<size_t>(one.columns)
            << "; the logits' range is " << high - low << "\n";
  const bool int8 = hasInt8Weights(plan);
  const double allowed = (int8 ? kToleranceInt8 : kToleranceExact) * (high - low);
  if (!(largest <= allowed)) return makeError(ErrorCode::kMismatch, "expected a difference of at most ", allowed, ", got ", largest);
  return {};
}

}  // namespace

Result<int> runVerify(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string directory, onlyArgument(arguments, "a plan directory"));
  EXO_ASSIGN(const plan::Plan plan, loadPlan(directory));
  Report report;
  report.check("every element of every tensor that is loaded is owned", proveSlices(plan));
  report.check("every message has its other side", proveMessages(plan));
  report.check("no two live buffers overlap", proveBuffers(plan));
  if (hasDumps(directory)) report.check("owners and layers are those of the sharded IR", proveDumps(directory, plan));
  else std::cout << "skipped owners and layers against the sharded IR: the plan keeps none (--dump_ir all)\n";
  if (report.failed()) return 1;
  if (FLAGS_static_only) {
    std::cout << "not run (--static_only)\n";
    return 0;
  }
  if (!plan.has_random_seed()) {
    const auto model = openModel(plan.model_directory().empty() ? plan.model() : plan.model_directory());
    if (!model.ok() && model.error().code() != ErrorCode::kNotFound) {
      report.check("the model can be read", model.error());
      return 1;
    }
    if (!model.ok() || !model->checkpoint) {
      std::cout << "not run: " << (model.ok() ? "there are no weights" : model.error().message()) << "\n";
      return 0;
    }
  }
  const Interrupt interrupt;
  report.check("the same logits as on one node", compareWithOneNode(plan, directory, interrupt.flag()));
  return report.failed() ? 1 : 0;
}

}  // namespace exo
