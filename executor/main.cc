// exo-exec: runs one node of a plan. Flags in, libraries called, exit code out.
#include <gflags/gflags.h>
#include <glog/logging.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <mutex>
#include <thread>

#include "codegen/plan.h"
#include "executor/cluster/run.h"
#include "executor/cluster/security.h"
#include "executor/cluster_view.h"
#include "executor/node.h"
#include "executor/plan_node.h"
#include "executor/serve/dialects/front.h"
#include "executor/serve/model_info.h"
#include "executor/status_pipe.h"
#include "executor/weight_source.h"
#include "frontend/flags/flags.h"
#include "ir/base/owned_file.h"
#include "ir/base/version.h"

DEFINE_string(plan, "", "directory with the plan, as exoc compile writes it; the same on every node");
DEFINE_string(node, "", "which node of the plan this is");
DEFINE_string(listen, "", "host:port for other nodes and clients; default: the node's address in the plan");
DEFINE_string(coordinator, "", "host:port of rank 0's node; default: its address in the plan");
DEFINE_int32(threads, 0, "threads to compute with; 0: one per core, each pinned");
DEFINE_string(isa, "auto", "instruction set: auto, amx, avx512-vnni, avx-vnni, avx2, neon-i8mm, neon-dotprod, generic");
DEFINE_string(tune, "auto", "how the loops of matrix products are laid out: off (as built in), auto (as remembered for this machine, or measured if a second is enough), full (measured now, some seconds). Changes no bit of the results");
DEFINE_string(model, "", "directory or GGUF file with the model's weights; default: where the plan found them");
DEFINE_bool(weights_from_peer, false, "this machine has no copy of the model: take the weights from a node of the plan that has one");
DEFINE_string(random_weights, "", "seed: make weights up instead of reading them; the same on every node");
DEFINE_string(secret_file, "", "file with the cluster secret, at least 16 bytes; needed beyond this machine, the same on every node");
DEFINE_double(join_timeout, 60, "seconds to wait until every node of the plan has joined");
DEFINE_double(peer_timeout, 5, "seconds of silence after which a node counts as lost");
DEFINE_double(step_timeout, 30, "seconds that one operation between nodes may take");
DEFINE_string(cache_dir, "", "directory for compiled kernels; default: $XDG_CACHE_HOME/exo or ~/.cache/exo; none: no cache");
DEFINE_string(weight_cache_dir, "", "directory for packed weights, which the next start maps; default: $XDG_CACHE_HOME/exo/weights or ~/.cache/exo/weights; none: no cache. Its files may be deleted at any time");
DEFINE_string(transport, "auto", "how tensors travel: auto (shm on one host, else verbs where it works, else tcp), shm, verbs, tcp");
DEFINE_string(rdma_device, "", "name[:port[:gid index]] of the device for verbs; default: the fastest port that reaches each peer");
DEFINE_string(http, "127.0.0.1:52415", "where rank 0 serves the OpenAI, Anthropic and Ollama APIs and the dashboard; none: nowhere. Where the default is taken by another program, only a warning");
DEFINE_string(api_key_file, "", "file with one key per line; who asks over HTTP must give one of them. Needed at an address beyond this machine");
DEFINE_string(http_origins, "", "origins of web pages that may ask, with commas; others than this server's own are refused");
DEFINE_string(http_hosts, "", "names by which this server is asked for, with commas, besides its address and localhost");
DEFINE_bool(http_without_key, false, "let everybody who reaches --http use the model");
DEFINE_string(model_name, "", "what the model is called over HTTP; default: the plan's name of it");
DEFINE_double(drain_timeout, 60, "seconds for which a server that is told to end (SIGINT, SIGTERM) finishes the answers it has begun; a second signal ends it without");
DEFINE_string(profile, "", "write what every thread did in every step to this file at the end, for Perfetto or chrome://tracing");
DEFINE_bool(die_with_parent, false, "end at once when the process that started this one ends");
DEFINE_int32(status_fd, -1, "descriptor to write events to, as lines of JSON");
DEFINE_bool(measure_only, false, "run no model: answer exoc topo's measurements at --listen (default 127.0.0.1:52416)");

namespace exo {
namespace {

constexpr int kFailed = 1, kBadInput = 2;  // exit codes
constexpr std::chrono::seconds kEndPatience{8};  // of an orderly end: then the process ends anyhow
constexpr std::chrono::seconds kFlushPatience{3};  // for the last bytes of answers to reach their clients
constexpr double kMaxSeconds = 86'400;

const std::vector<std::string> kFlags = {"plan",         "node",         "listen",    "coordinator", "threads",         "isa",
                                         "model",        "weights_from_peer", "random_weights", "secret_file", "join_timeout", "peer_timeout", "step_timeout",
                                         "cache_dir",    "weight_cache_dir", "transport",    "tune", "rdma_device", "die_with_parent", "status_fd", "measure_only", "profile",
                                         "http", "api_key_file", "http_origins", "http_hosts", "http_without_key", "drain_timeout", "model_name"};

std::string helpText() {
  return std::string("exo-exec ") + kVersion +
         ": runs one node of a plan made by exoc compile.\n\n"
         "usage: exo-exec --plan=DIR --node=NAME [flags]\n\nFlags:\n" +
         describeFlags(kFlags) +
         "  --help, --version\n\nExamples:\n"
         "  exo-exec --plan=plan --node=desk                              the node \"desk\", at its address in the plan\n"
         "  exo-exec --plan=plan --node=mini --secret_file=cluster.key    beyond one machine: a secret, the same everywhere\n"
         "  exo-exec --plan=plan --node=n1 --listen=127.0.0.1:0 --coordinator=127.0.0.1:52416\n"
         "  exo-exec --measure_only --listen=192.168.1.10:52416 --secret_file=cluster.key\n\n"
         "Exit codes: 0 after an orderly stop (SIGINT, SIGTERM, or one of any other node), 1 for a failure at run time (a lost\n"
         "node, a full memory), 2 for bad input (flags, plan, model, secret). The node that serves finishes the answers it has begun\n"
         "first, for at most --drain_timeout; a second signal ends them.\n";
}

Result<std::chrono::milliseconds> seconds(const char* flag, double value) {
  if (!(value > 0) || value > kMaxSeconds) return invalid("--", flag, ": expected seconds above 0 and up to ", kMaxSeconds, ", got ", value);
  return std::chrono::milliseconds(std::max<int64_t>(1, static_cast<int64_t>(value * 1000)));
}

/// What a flag says: a directory, "none", or nothing, which means `folder` in the user's cache, if there is one.
std::string cacheDirectory(const std::string& flag, const char* folder) {
  if (flag == "none") return "";
  if (!flag.empty()) return flag;
  const std::string cache = userCacheDirectory();
  return cache.empty() ? "" : cache + folder;
}

Result<cluster::Security> securityFlag() {
  if (FLAGS_secret_file.empty()) return cluster::Security::loopbackOnly();
  return cluster::Security::fromSecretFile(FLAGS_secret_file);
}

Status dieWithParent() {
  if (!FLAGS_die_with_parent) return {};
  const pid_t parent = ::getppid();  // 1 is as good as any: in a container it may be exoc
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) {
    return makeError(ErrorCode::kCancelled, "the parent process has ended already");
  }
  return {};
}

cluster::NodeEvents eventsTo(StatusPipe& pipe) {
  return {.listening =
              [&pipe](const cluster::Address& address) {
                pipe.listening(address.text());
                LOG(INFO) << "listening at " << address.text();
              },
          .loading = [&pipe](uint64_t done, uint64_t total) { pipe.loading(done, total); },
          .ready =
              [&pipe](const cluster::NodeInfo& info, uint64_t memory) {
                pipe.ready(info.node, info.rank, memory);
                LOG(INFO) << "ready: node " << info.node << ", rank " << info.rank << " of " << info.world_size << ", " << info.model << ", "
                          << (memory >> 20) << " MiB";
              }};
}

Result<cluster::NodeOptions> nodeOptions(const plan::Plan& plan, std::optional<uint64_t> seed, StatusPipe& pipe) {
  EXO_ASSIGN(cluster::NodeOptions options,
             nodeOfPlan(plan, {.node = FLAGS_node, .listen = FLAGS_listen, .coordinator = FLAGS_coordinator, .random_seed = seed}));
  EXO_ASSIGN(options.join_timeout, seconds("join_timeout", FLAGS_join_timeout));
  EXO_ASSIGN(options.peer_timeout, seconds("peer_timeout", FLAGS_peer_timeout));
  options.events = eventsTo(pipe);
  return options;
}

Result<EngineWorkerOptions> workerOptions(StatusPipe& pipe) {
  EngineWorkerOptions options;
  if (FLAGS_threads < 0) return invalid("--threads: expected 0 or more, got ", FLAGS_threads);
  options.threads = FLAGS_threads;
  EXO_ASSIGN(options.isa, codegen::parseIsa(FLAGS_isa));
  EXO_TRY(codegen::checkHost(options.isa));
  EXO_ASSIGN(options.tune, codegen::parseTune(FLAGS_tune));
  EXO_ASSIGN(options.transport, transport::parseChoice(FLAGS_transport));
  EXO_ASSIGN(options.rdma_device, transport::verbs::parseDeviceChoice(FLAGS_rdma_device));
  options.on_link = [&pipe](const std::string& node, transport::Kind kind, const std::string& why) {
    pipe.link(node, transport::name(kind), why);
    LOG(INFO) << "link to node " << node << ": " << transport::name(kind) << (why.empty() ? "" : " (" + why + ")");
  };
  EXO_ASSIGN(options.step_timeout, seconds("step_timeout", FLAGS_step_timeout));
  options.cache_dir = cacheDirectory(FLAGS_cache_dir, "");
  options.weight_cache_dir = cacheDirectory(FLAGS_weight_cache_dir, "/weights");
  options.warn = [](const std::string& line) { LOG(WARNING) << line; };
  options.note = [](const std::string& line) { LOG(INFO) << line; };
  options.profile = !FLAGS_profile.empty();
  return options;
}

/// What rank 0 serves at --http; nothing with "none".
Result<std::optional<serve::FrontSettings>> frontFlags() {
  if (FLAGS_http == "none") return std::optional<serve::FrontSettings>();
  EXO_ASSIGN(serve::FrontSettings settings, serve::frontSettings({FLAGS_http, FLAGS_api_key_file, FLAGS_http_origins, FLAGS_http_hosts, FLAGS_http_without_key}));
  return std::optional<serve::FrontSettings>(std::move(settings));
}

Result<std::unique_ptr<serve::Front>> openFront(EngineWorker& worker, const serve::ClusterState& state, const serve::FrontSettings& settings, StatusPipe& pipe) {
  auto front = serve::Front::open(worker.completions(), state, settings);
  if (!front.ok() && gflags::GetCommandLineFlagInfoOrDie("http").is_default) {
    LOG(WARNING) << "nothing is served over HTTP: " << front.error().message() << "; --http names another address";
    return std::unique_ptr<serve::Front>();
  }
  if (front.ok()) {
    pipe.serving((*front)->url());
    LOG(INFO) << "serving at " << (*front)->url();
  }
  return front;
}

double unixTime() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// What rank 0 serves: the state, kept up to date, and the server, which shows it and ends before the worker, whose engine it asks.
struct Shown {
  std::unique_ptr<serve::ClusterState> state;
  std::unique_ptr<serve::Front> front;
};

Result<Shown> show(const plan::Plan& plan, EngineWorker& worker, const serve::FrontSettings& settings, cluster::NodeOptions& options, const cluster::StopSignal& stop,
                   StatusPipe& pipe) {
  EXO_ASSIGN(const nlohmann::json report, serve::readReport(FLAGS_plan));
  Shown shown;
  shown.state = std::make_unique<serve::ClusterState>(plan, report, worker.completions().model(), serve::newId(""), unixTime());
  EXO_ASSIGN(shown.front, openFront(worker, *shown.state, settings, pipe));
  if (shown.front == nullptr) return shown;
  std::vector<std::string> names;
  for (const auto& node : options.roster.nodes) names.push_back(node.name);
  options.events.members = [&state = *shown.state, &worker, &stop, view = std::make_shared<ClusterView>(std::move(names))](const std::vector<cluster::MemberStatus>& members) {
    serve::ClusterFacts facts = view->facts(unixTime(), members, worker.completions());
    if (const std::optional<Error> error = stop.error()) facts.error = error->message();
    state.publish(facts);
  };
  return shown;
}

/// What the first signal begins, where something is served. Threads: any.
class Draining {
 public:
  /// `begin` returns whether there is anything to wait for; it is called until the end of the scope.
  class Scope {
   public:
    Scope(Draining& draining, std::function<bool()> begin, std::chrono::milliseconds patience) : draining_(draining) { draining_.set(std::move(begin), patience); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { draining_.set(nullptr, {}); }

   private:
    Draining& draining_;
  };

  /// How long to wait for it; nothing if there is nothing to wait for.
  std::optional<std::chrono::milliseconds> begin() {
    const std::lock_guard lock(mutex_);
    if (!begin_ || !begin_()) return std::nullopt;
    return patience_;
  }

 private:
  void set(std::function<bool()> begin, std::chrono::milliseconds patience) {
    const std::lock_guard lock(mutex_);
    begin_ = std::move(begin);
    patience_ = patience;
  }

  std::mutex mutex_;
  std::function<bool()> begin_;
  std::chrono::milliseconds patience_{0};
};

bool beginDraining(EngineWorker& worker) {
  if (worker.completions().state() != serve::EngineState::kServing) return false;
  const serve::Metrics metrics = worker.completions().metrics();
  LOG(INFO) << "draining: " << metrics.running + metrics.waiting << " requests are finished first; another signal ends them";
  worker.drain();
  return true;
}

/// `began` turns true when everything given was good, and the node starts.
Status runPlan(const cluster::Security& security, StatusPipe& pipe, cluster::StopSignal& stop, Draining& draining, bool& began) {
  if (FLAGS_plan.empty() || FLAGS_node.empty()) return invalid("--plan and --node are needed (--help shows examples)");
  EXO_ASSIGN(const plan::Plan plan, loadPlan(FLAGS_plan));
  EXO_ASSIGN(std::optional<uint64_t> seed, parseSeed("random_weights", FLAGS_random_weights));
  if (!seed && plan.has_random_seed() && FLAGS_model.empty()) seed = plan.random_seed();
  EXO_ASSIGN(cluster::NodeOptions options, nodeOptions(plan, seed, pipe));
  EXO_ASSIGN(const EngineWorkerOptions engine, workerOptions(pipe));
  EXO_ASSIGN(const std::optional<serve::FrontSettings> http, frontFlags());
  EXO_ASSIGN(const std::chrono::milliseconds drain_timeout, seconds("drain_timeout", FLAGS_drain_timeout));
  const std::string directory = FLAGS_model.empty() ? plan.model_directory() : FLAGS_model;
  std::unique_ptr<TensorSource> weights;
  if (FLAGS_weights_from_peer) {
    if (seed || !FLAGS_model.empty()) return invalid("--weights_from_peer: this node has weights of its own, by ", seed ? "a seed" : "--model");
    if (plan.programs_size() == 1) return invalid("--weights_from_peer: the plan has no other node");
  } else {
    EXO_ASSIGN(weights, openWeights(directory, seed));
  }
  serve::ModelInfo model;
  if (options.info.rank == 0) model = serve::modelInfoOf(plan, directory, engine.warn);
  if (!FLAGS_model_name.empty()) model.name = FLAGS_model_name;
  EngineWorker worker(plan.programs(static_cast<int>(options.info.rank)), std::move(model), std::move(weights), engine, stop);
  Shown shown;
  if (http && options.info.rank == 0) {
    EXO_ASSIGN(shown, show(plan, worker, *http, options, stop, pipe));
  }
  began = true;
  const Status ended = [&] {
    std::optional<Draining::Scope> scope;
    if (shown.front) scope.emplace(draining, [&] { return beginDraining(worker); }, drain_timeout);
    return cluster::runNode(options, security, worker, stop);
  }();
  if (shown.front) shown.front->drain(kFlushPatience);
  const Status written = FLAGS_profile.empty() ? Status{} : worker.writeProfile(FLAGS_profile);
  return ended.ok() ? written : ended;
}

Status runMeasuring(const cluster::Security& security, StatusPipe& pipe, cluster::StopSignal& stop, bool& began) {
  cluster::MeasureOptions options{.node = FLAGS_node};
  EXO_ASSIGN(options.listen, cluster::parseAddress(FLAGS_listen.empty() ? "127.0.0.1:52416" : FLAGS_listen));
  EXO_ASSIGN(options.peer_timeout, seconds("peer_timeout", FLAGS_peer_timeout));
  options.events = eventsTo(pipe);
  began = true;
  return cluster::runMeasureOnly(options, security, stop);
}

/// SIGINT and SIGTERM end all nodes in order, after the answers that are being made, if there are such: then a second signal ends all nodes
/// without waiting for them. One more, or an end that takes too long, ends this process.
void watchSignals(cluster::StopSignal& stop, Draining& draining) {
  static sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every later thread
  ::signal(SIGPIPE, SIG_IGN);
  std::thread([&stop, &draining] {
    // The first signal may come when another node has asked for the end already: that end stays an orderly one.
    bool drained = false, stopped = false;
    for (int number = 0; ::sigwait(&signals, &number) == 0;) {
      if (stopped) ::_exit(128 + number);
      const char* reason = number == SIGINT ? "interrupted" : "terminated";
      const auto patience = drained ? std::nullopt : draining.begin();
      drained = true;
      if (patience) {
        std::thread([&stop, reason, patience] {
          if (!stop.waitFor(*patience)) stop.stop(reason);
        }).detach();
        continue;
      }
      stopped = true;
      stop.stop(reason);
    }
  }).detach();
  std::thread([&stop] {
    while (!stop.waitFor(std::chrono::hours(1))) {}
    std::this_thread::sleep_for(kEndPatience);
    std::cerr << "exo-exec: ending took too long: " << stop.reason() << std::endl;
    ::_exit(kFailed);
  }).detach();
}

int exitCode(const Error& error, bool began) {
  return began && error.code() != ErrorCode::kInvalidInput ? kFailed : kBadInput;
}

Status onlyFlags(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const auto rest, parseFlags(arguments, kFlags));
  if (!rest.empty()) return invalid("unexpected argument \"", rest[0], "\" (--help lists the flags)");
  return {};
}

int run(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::cout << helpText();
      return 0;
    }
    if (argument == "--version") {
      std::cout << "exo-exec " << kVersion << "\n";
      return 0;
    }
  }
  Status status = onlyFlags(arguments);
  if (status.ok()) status = StatusPipe::check(FLAGS_status_fd);
  if (status.ok()) status = dieWithParent();
  if (!status.ok()) {
    std::cerr << "exo-exec: " << status.error().message() << std::endl;
    return kBadInput;
  }
  // For the detached threads, which never end.
  static cluster::StopSignal& stop = *new cluster::StopSignal();
  static Draining& draining = *new Draining();
  watchSignals(stop, draining);
  StatusPipe pipe(FLAGS_status_fd);
  if (FLAGS_status_fd >= 0) FLAGS_minloglevel = google::WARNING;  // the parent tells what there is to tell
  bool began = false;
  const Result<cluster::Security> security = securityFlag();
  status = !security.ok() ? Status(security.error())
           : FLAGS_measure_only ? runMeasuring(*security, pipe, stop, began)
                                : runPlan(*security, pipe, stop, draining, began);
  if (status.ok()) return 0;
  pipe.error(status.error());
  if (FLAGS_status_fd < 0) std::cerr << "exo-exec" << (FLAGS_node.empty() ? "" : " " + FLAGS_node) << ": " << status.error() << std::endl;
  return exitCode(status.error(), began);
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  try {
    return exo::run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& failure) {  // of third parties: no memory, mostly
    std::cerr << "exo-exec: " << failure.what() << std::endl;
    return exo::kFailed;
  }
}
