#include "executor/node.h"

#include <future>

#include "executor/cluster/measure.h"
#include "executor/job_listener.h"
#include "executor/runtime/follower.h"
#include "executor/runtime/profile.h"
#include "executor/weight_exchange.h"
#include "executor/weight_source.h"
#include "frontend/checkpoint/replacing_file.h"
#include "ir/base/machine.h"

namespace exo {
namespace {

// All members have been welcomed at the same moment; a machine that is busy with something else may need some seconds.
constexpr std::chrono::milliseconds kConnectTimeout{20'000};

Error asError(const serve::Refusal& refusal) {
  using Reason = serve::Refusal::Reason;
  switch (refusal.reason) {
    case Reason::kInvalid:
    case Reason::kPromptTooLong: return Error(ErrorCode::kInvalidInput, refusal.message);
    case Reason::kQueueFull: return Error(ErrorCode::kDoesNotFit, refusal.message);
    case Reason::kStopping:
    case Reason::kFailed: return Error(ErrorCode::kCancelled, refusal.message);
  }
  return Error(ErrorCode::kCancelled, refusal.message);
}

}  // namespace

EngineWorker::EngineWorker(program::Program program, serve::ModelInfo model, std::unique_ptr<TensorSource> weights, EngineWorkerOptions options,
                           cluster::StopSignal& stop)
    : program_(std::move(program)), serving_(std::move(model), runtime::stepLimits(program_)), weights_(std::move(weights)), options_(std::move(options)), stop_(stop) {}

Result<std::string> EngineWorker::openDataEndpoint(const std::string& host) {
  EXO_ASSIGN(transport::Listener listener, transport::Listener::open(host));
  listener_.emplace(std::move(listener));
  return listener_->endpoint().text();
}

Status EngineWorker::connect(const cluster::Session& session) {
  transport::MeshOptions options;
  options.rank = static_cast<int>(program_.rank());
  options.world = static_cast<int>(program_.world_size());
  options.epoch = session.epoch;
  options.session_key = session.key;
  for (const cluster::SessionMember& member : session.members) {
    if (member.rank == program_.rank()) continue;
    EXO_ASSIGN(transport::Endpoint endpoint, transport::Endpoint::parse(member.data_endpoint));
    options.peers.push_back({static_cast<int>(member.rank), member.node, std::move(endpoint), options_.transport});
  }
  options.device = options_.rdma_device;
  options.connect_timeout = kConnectTimeout;
  options.cancel = &stop_.flag();
  EXO_ASSIGN(mesh_, transport::Mesh::connect(std::move(*listener_), options));
  for (const transport::PeerOptions& peer : options.peers) {
    const transport::Connection& link = mesh_->peer(peer.rank);
    if (options_.on_link) options_.on_link(peer.name, link.kind(), link.why());
    const std::lock_guard lock(report_mutex_);
    links_.push_back(&link);
  }
  return {};
}

/// Before the weights: what measuring needs is free again by then.
Status EngineWorker::createJit() {
  std::vector<const program::Kernel*> kernels;
  for (const program::Kernel& kernel : program_.kernels()) kernels.push_back(&kernel);
  const int threads = options_.threads > 0 ? options_.threads : std::max(1, static_cast<int>(allowedProcessors().size()));
  EXO_ASSIGN(jit_, codegen::createTunedJit({.isa = options_.isa, .mode = options_.tune, .threads = threads, .cache_dir = options_.cache_dir}, kernels));
  for (const std::string& line : jit_.report)
    if (options_.note) options_.note(line);
  return {};
}

Status EngineWorker::createEngine(const Progress& progress) {
  runtime::EngineOptions options;
  options.threads = options_.threads;
  // Told a number of threads, the node shares the machine with others, and all would pin to the same cores.
  options.pin = options_.threads == 0 ? runtime::Pin::kYes : runtime::Pin::kNo;
  options.jit = jit_.jit.get();
  options.weight_cache.directory = options_.weight_cache_dir;
  options.weight_cache.source_identity = [this] { return weights_->identity(); };
  options.weight_cache.warn = options_.warn;
  options.weight_cache.cancel = &stop_.flag();
  options.timeout = options_.step_timeout;
  options.progress = progress;
  EXO_ASSIGN(engine_, runtime::Engine::create(program_, options, weightReader(*weights_, stop_.flag()), mesh_.get()));
  program_.Clear();  // the engine has its own copy
  const runtime::EngineMemory held = engine_->memory();
  const std::lock_guard lock(report_mutex_);
  memory_ = {held.weights, held.caches, held.arena, held.scratch};
  return {};
}

/// Creates the engine, and meanwhile gives weights to those who have none.
Status EngineWorker::exchangeWeights(const Progress& progress) {
  EXO_ASSIGN(const WeightExchange exchange, WeightExchange::agree(*mesh_, weights_.get(), kConnectTimeout));
  if (exchange.giver() >= 0) {
    EXO_ASSIGN(weights_, exchange.take());
    return createEngine(progress);
  }
  if (exchange.takers().empty()) return createEngine(progress);
  std::atomic<bool> over = false;
  auto giving = std::async(std::launch::async, [&] { return exchange.give(over); });
  const Status created = createEngine(progress);
  // Takers end with the whole cluster, if it ends.
  while (giving.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready)
    if (!created.ok() || stop_.flag()) over = true;
  const Status given = giving.get();
  return created.ok() ? given : created;
}

Status EngineWorker::load(const cluster::Session& session, const Progress& progress) {
  const bool leads = program_.rank() == 0;
  if (program_.world_size() > 1) EXO_TRY(connect(session));
  listener_.reset();
  EXO_TRY(createJit());
  EXO_TRY(mesh_ != nullptr ? exchangeWeights(progress) : createEngine(progress));
  weights_.reset();  // a mapped checkpoint would count as memory of ours
  if (options_.profile) EXO_TRY(startProfile());
  if (!leads) return {};
  EXO_ASSIGN(driver_, runtime::Driver::create(*engine_, mesh_.get(), options_.step_timeout));
  return {};
}

uint64_t EngineWorker::memoryBytes() const {
  if (engine_ == nullptr) return 0;
  const runtime::EngineMemory memory = engine_->memory();
  return memory.weights + memory.caches + memory.arena + memory.scratch;
}

cluster::EngineReport EngineWorker::report() const {
  const std::lock_guard lock(report_mutex_);
  cluster::EngineReport report{memory_, {}};
  for (const transport::Connection* link : links_)
    report.links.push_back({static_cast<uint32_t>(link->peer()), transport::name(link->kind()), link->why(), link->sentBytes()});
  return report;
}

Status EngineWorker::serve() {
  const auto ends = stop_.onStop([this] { serving_.stop(); });
  EXO_TRY(serving_.run(*driver_));
  stop_.stop("drained");   // unless it is the stop that ended it
  return {};
}

void EngineWorker::finish(const Error& error) { serving_.finish(error); }

Result<uint64_t> EngineWorker::submit(std::shared_ptr<cluster::GenerateJob> job) {
  serve::TokenRequest request = tokenRequest(job->request(), serving_.model().eos_ids);
  const auto taken = serving_.submit("control", std::move(request), std::make_shared<JobListener>(std::move(job), serving_.model().vocab_size));
  if (const auto* id = std::get_if<serve::RequestId>(&taken)) return *id;
  return asError(std::get<serve::Refusal>(taken));
}

void EngineWorker::cancel(uint64_t request) { serving_.cancel(request); }

cluster::ServeCounts EngineWorker::counts() const {
  const serve::Metrics metrics = serving_.metrics();
  return {static_cast<uint32_t>(metrics.running), static_cast<uint32_t>(metrics.waiting), metrics.generated_tokens};
}

/// Now, and not at the end, because an end has to be quick.
Status EngineWorker::startProfile() {
  EXO_ASSIGN(const cluster::Measurement machine, cluster::measureNode(engine_->threads()));
  read_bytes_per_s_ = machine.read.back().rate.median * 1e9;
  engine_->setProfiling(runtime::Profiling::kOn);
  return {};
}

Status EngineWorker::writeProfile(const std::filesystem::path& path) const {
  if (engine_ == nullptr) return {};
  std::string notes;
  for (const std::string& line : jit_.report) notes += line + "\n";
  return replaceFile(path, runtime::profileTrace(engine_->program(), engine_->profile(), read_bytes_per_s_, notes));
}

Status EngineWorker::follow() { return runtime::follow(*engine_, *mesh_, options_.step_timeout); }

}  // namespace exo
