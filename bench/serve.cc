// A server under load: so many clients at once, each asking, reading its answer as it comes, pausing, and asking again; who asks what and when
// is decided by a seed. Time to first token, time between pieces and to the end, tokens per second and errors, by number of clients; beside
// it what one client alone gets, which is the roof of all but the throughput, and reading the weights, which is the roof of one client.
// --siege: everything at once that clients do to a server, and whether anything is lost by it.
#include <gflags/gflags.h>

#include <cstdio>
#include <map>
#include <vector>

#include "bench/flags.h"
#include "bench/load/crowd.h"
#include "bench/load/fetch.h"
#include "bench/load/script.h"
#include "bench/load/siege.h"
#include "bench/statistics.h"
#include "frontend/driver/compile.h"
#include "frontend/driver/local_cluster.h"
#include "frontend/driver/plan_source.h"
#include "frontend/topology/topology.h"

DEFINE_string(server, "", "http://HOST:PORT of a running server; default: one is started with --model");
DEFINE_string(model, "models/demo", "model to serve; it needs a tokenizer");
DEFINE_string(quant, "keep", "its quantisation");
DEFINE_int32(nodes, 1, "nodes on this machine");
DEFINE_int32(threads, 0, "per node; 0: the cores divided by the nodes");
DEFINE_int64(max_sequences, 64, "answers that the server computes together");
DEFINE_string(streams, "1,2,4,8,16,32,64", "clients at once");
DEFINE_int64(answers, 6, "answers that each client asks for");
DEFINE_int64(prompt, 64, "mean tokens of a prompt, drawn from a half to one and a half");
DEFINE_int64(generate, 48, "mean tokens of an answer, the same");
DEFINE_double(pause, 0.2, "mean seconds between an answer and the client's next request, exponentially distributed");
DEFINE_int64(seed, 1, "of everything that is drawn");
DEFINE_bool(siege, false, "64 clients that read, 500 visits that end early, 200 malformed requests, slow readers; all at once, in --rounds rounds");
DEFINE_int32(rounds, 3, "of --siege");
DEFINE_int32(timeout, 600, "seconds until the server must be ready, and that one answer may take");

namespace exo::bench {
namespace {

using load::Seconds;
using load::VisitOutcome;

constexpr int kMostStreams = 1024;

/// A server of our own, or another's.
struct Server {
  load::Target target;
  std::unique_ptr<TemporaryDirectory> plan;
  std::unique_ptr<LocalCluster> nodes;   // ends first
};

Result<Server> startServer() {
  EXO_ASSIGN(const Model model, openModel(FLAGS_model));
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(FLAGS_quant));
  options.max_sequences = FLAGS_max_sequences;
  options.max_context = std::min<int64_t>(model.config.max_position_embeddings, 2 * (FLAGS_prompt + FLAGS_generate));
  options.topology = loopbackTopology(FLAGS_nodes);
  EXO_ASSIGN(const Compiled compiled, compile(model, options));
  EXO_ASSIGN(TemporaryDirectory directory, TemporaryDirectory::create());
  Server server;
  server.plan = std::make_unique<TemporaryDirectory>(std::move(directory));
  EXO_TRY(writePlan(compiled, {DumpIr::kNone, ""}, server.plan->path() / "plan"));
  EXO_ASSIGN(const plan::Plan plan, loadPlan(server.plan->path() / "plan"));
  LocalClusterOptions nodes;
  nodes.threads = FLAGS_threads;
  nodes.weight_cache_dir = "none";
  nodes.http = {"--http=127.0.0.1:0"};
  nodes.timeout = std::chrono::seconds(FLAGS_timeout);
  EXO_ASSIGN(server.nodes, LocalCluster::start(plan, server.plan->path() / "plan", nodes, nullptr));
  EXO_ASSIGN(server.target, load::parseTarget(server.nodes->url()));
  return server;
}

Result<Server> server() {
  if (FLAGS_server.empty()) return startServer();
  Server other;
  EXO_ASSIGN(other.target, load::parseTarget(FLAGS_server));
  return other;
}

/// What so many clients saw.
struct Level {
  std::vector<double> first_s, between_s, whole_s;
  std::map<std::string, int> errors;
  int64_t tokens = 0;
  int answers = 0;
  double seconds = 0;
};

void add(const VisitOutcome& o, Level& level) {
  const bool good = o.end == VisitOutcome::End::kWhole && o.status == 200 && o.tokens == o.wanted_tokens;
  if (!good) {
    ++level.errors[std::string(name(o.end)) + ", status " + std::to_string(o.status)];
    return;
  }
  ++level.answers;
  level.tokens += o.tokens;
  level.whole_s.push_back(o.end_s);
  if (!o.pieces_s.empty()) level.first_s.push_back(o.pieces_s.front());
  for (size_t i = 1; i < o.pieces_s.size(); ++i) level.between_s.push_back(o.pieces_s[i] - o.pieces_s[i - 1]);
}

Result<Level> measure(const load::Target& target, const load::AnswerScript& script, int streams) {
  std::vector<load::Client> clients;
  // Numbers apart from those of other levels: no prompt is asked twice.
  for (int i = 0; i < streams; ++i) clients.push_back(load::answering(script, static_cast<uint64_t>(FLAGS_seed), streams * kMostStreams + i, static_cast<int>(FLAGS_answers)));
  const auto begun = std::chrono::steady_clock::now();
  EXO_ASSIGN(const auto outcomes, load::run(target, clients, Seconds(FLAGS_timeout)));
  Level level;
  level.seconds = Seconds(std::chrono::steady_clock::now() - begun).count();
  for (const auto& client : outcomes)
    for (const VisitOutcome& o : client) add(o, level);
  return level;
}

std::string quantiles(const std::vector<double>& seconds) {
  char text[96];
  std::snprintf(text, sizeof text, "%8.1f %8.1f %8.1f", 1e3 * quantile(seconds, 0.5), 1e3 * quantile(seconds, 0.95), 1e3 * quantile(seconds, 0.99));
  return text;
}

void print(int streams, const Level& level, const Level& alone) {
  std::printf("%7d | %s | %s | %s | %8.1f %5.2fx |", streams, quantiles(level.first_s).c_str(), quantiles(level.between_s).c_str(), quantiles(level.whole_s).c_str(),
              static_cast<double>(level.tokens) / level.seconds, static_cast<double>(level.tokens) / level.seconds / (static_cast<double>(alone.tokens) / alone.seconds));
  if (level.errors.empty()) std::printf(" none");
  for (const auto& [what, count] : level.errors) std::printf(" %d (%s)", count, what.c_str());
  std::printf("\n");
  std::fflush(stdout);
}

Status measureLevels(const load::Target& target, const load::AnswerScript& script) {
  EXO_ASSIGN(const auto counts, listFlag("streams", FLAGS_streams));
  std::vector<int> levels;
  for (const std::string& count : counts) {
    EXO_ASSIGN(levels.emplace_back(), numberFlag("streams", count, kMostStreams));
  }
  EXO_ASSIGN(const Level warm_up, measure(target, script, 1));   // first touches of pages and stacks
  (void)warm_up;
  EXO_ASSIGN(const Level alone, measure(target, script, 1));
  std::printf("        | %-26s | %-26s | %-26s | %-15s |\n", "first token, ms", "between pieces, ms", "whole answer, ms", "tokens/s");
  std::printf("clients | %8s %8s %8s | %8s %8s %8s | %8s %8s %8s | %8s %6s | errors\n", "p50", "p95", "p99", "p50", "p95", "p99", "p50", "p95", "p99", "all", "of one");
  int errors = 0;
  for (const int streams : levels) {
    EXO_ASSIGN(const Level level, measure(target, script, streams));
    print(streams, level, alone);
    for (const auto& [what, count] : level.errors) errors += count;
  }
  if (errors > 0) return makeError(ErrorCode::kMismatch, errors, " answers did not come as they should");
  return {};
}

Status siege(const load::Target& target, const load::AnswerScript& script) {
  load::SiegeOptions options{.script = script, .patience = Seconds(FLAGS_timeout), .seed = static_cast<uint64_t>(FLAGS_seed), .rounds = FLAGS_rounds};
  EXO_ASSIGN(const load::SiegeReport report, load::besiege(target, options));
  std::printf("%d answers of %ld tokens read to their end, %d clients left early, %d malformed requests refused\n", report.answers, static_cast<long>(report.tokens), report.left, report.refused);
  std::printf("/health: p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, worst %.1f ms of %zu (wanted: p99 below 50 ms)\n", 1e3 * quantile(report.health_s, 0.5), 1e3 * quantile(report.health_s, 0.95),
              1e3 * quantile(report.health_s, 0.99), 1e3 * quantile(report.health_s, 1), report.health_s.size());
  for (size_t i = 0; i < report.resident_bytes.size(); ++i)
    std::printf("round %zu: %.1f s, then %.1f MB resident in all nodes\n", i + 1, report.round_s[i], static_cast<double>(report.resident_bytes[i]) / 1e6);
  for (const std::string& wrong : report.wrong) std::printf("WRONG: %s\n", wrong.c_str());
  if (!report.wrong.empty()) return makeError(ErrorCode::kMismatch, report.wrong.size(), " things were wrong");
  return {};
}

Status run() {
  EXO_TRY(checkRange("nodes", FLAGS_nodes, 1, 64));
  EXO_TRY(checkRange("threads", FLAGS_threads, 0, 1024));
  EXO_TRY(checkRange("max_sequences", FLAGS_max_sequences, 1, 1024));
  EXO_TRY(checkRange("answers", FLAGS_answers, 1, 100'000));
  EXO_TRY(checkRange("prompt", FLAGS_prompt, 1, 1 << 20));
  EXO_TRY(checkRange("generate", FLAGS_generate, 1, 1 << 20));
  EXO_TRY(checkRange("rounds", FLAGS_rounds, 1, 1000));
  EXO_TRY(checkRange("timeout", FLAGS_timeout, 1, 86400));
  if (!(FLAGS_pause >= 0 && FLAGS_pause <= 3600)) return invalid("--pause: expected 0 to 3600 seconds, got ", FLAGS_pause);
  EXO_ASSIGN(const Server served, server());
  load::AnswerScript script{.prompt_tokens = FLAGS_prompt, .answer_tokens = FLAGS_generate, .pause = Seconds(FLAGS_pause)};
  EXO_ASSIGN(script.model, load::modelOf(served.target));
  std::printf("%s at %s:%u, seed %ld: prompts of %ld to %ld tokens, answers of %ld to %ld, pauses of %.2f s\n", script.model.c_str(), served.target.host.c_str(), served.target.port,
              static_cast<long>(FLAGS_seed), static_cast<long>(FLAGS_prompt / 2), static_cast<long>(FLAGS_prompt + FLAGS_prompt / 2), static_cast<long>(FLAGS_generate / 2),
              static_cast<long>(FLAGS_generate + FLAGS_generate / 2), FLAGS_pause);
  return FLAGS_siege ? siege(served.target, script) : measureLevels(served.target, script);
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_serve: a server under the load of many clients",
                                  {"server", "model", "quant", "nodes", "threads", "max_sequences", "streams", "answers", "prompt", "generate", "pause", "seed", "siege", "rounds", "timeout"},
                                  exo::bench::run);
}
