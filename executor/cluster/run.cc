#include "executor/cluster/run.h"

#include <condition_variable>
#include <mutex>
#include <thread>

#include "executor/cluster/follower.h"
#include "executor/cluster/measure.h"
#include "executor/cluster/service.h"

namespace exo::cluster {
namespace {

constexpr std::chrono::milliseconds kDrain{1500};       // for followers to hear the end and hang up
constexpr std::chrono::milliseconds kVerdictGrace{1500};
constexpr std::chrono::milliseconds kProgressInterval{200};

/// Loading reports to a parent, and to rank 0, a few times a second and at the end.
class Throttle {
 public:
  explicit Throttle(Worker::Progress report) : report_(std::move(report)) {}
  void operator()(uint64_t done, uint64_t total) {
    {
      const std::lock_guard lock(mutex_);
      const auto now = std::chrono::steady_clock::now();
      if (done != total && now < next_) return;
      next_ = now + kProgressInterval;
    }
    report_(done, total);
  }

 private:
  Worker::Progress report_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_ = {};
};

/// Does its work at once and then every second, in a thread of its own, for as long as it lives.
class EverySecond {
 public:
  explicit EverySecond(std::function<void()> work)
      : thread_([work = std::move(work)](const std::stop_token& stop) {
          std::mutex mutex;
          std::condition_variable_any never;
          for (auto next = std::chrono::steady_clock::now(); !stop.stop_requested();) {
            work();
            // After a pause of the machine there is nothing to catch up with.
            next = std::max(next + std::chrono::seconds(1), std::chrono::steady_clock::now());
            std::unique_lock lock(mutex);
            never.wait_until(lock, stop, next, [] { return false; });
          }
        }) {}

 private:
  std::jthread thread_;
};

NodeReport reportOf(const Worker& worker, NodeReader& machine) {
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  return {worker.report(), residentBytes(), machine.read(now)};
}

/// Tells what all members say of themselves.
std::function<void()> tellingOf(const Membership& membership, const Worker& worker, const NodeEvents& events) {
  return [&membership, &worker, &events, machine = NodeReader()]() mutable {
    std::vector<MemberStatus> members = membership.statuses();
    members[0].report = reportOf(worker, machine);
    events.members(members);
  };
}

Error cancelled(const StopSignal& stop) {
  return stop.error().value_or(makeError(ErrorCode::kCancelled, "the cluster is stopping: ", stop.reason()));
}

/// The cause, and what this node saw of it: which operation with which peer broke or was cancelled. Where the link noticed
/// first, one message holds the other: the longer one says all.
Error withSighting(Error cause, const Error& seen) {
  if (cause.message().find(seen.message()) != std::string::npos) return cause;
  if (seen.message().find(cause.message()) != std::string::npos) return seen;
  return std::move(cause).note("seen here: " + seen.message());
}

Result<Address> listenAddress(const Address& asked, const Security& security) {
  EXO_ASSIGN(const Address address, resolve(asked));
  EXO_TRY(security.allow(address, "listen on"));
  return address;
}

void reportReady(const NodeOptions& options, const Worker& worker) {
  if (options.events.ready) options.events.ready(options.info, worker.memoryBytes());
}

/// Requests, until the end. Returns what breaks the job.
Status serve(Worker& worker, StopSignal& stop) {
  Status status = worker.serve();
  // A link breaks before the news comes which node died: give that news a moment, it is the better answer.
  if (!status.ok() && status.error().scope() == ErrorScope::kLink) stop.waitFor(kVerdictGrace);
  if (status.ok()) {
    worker.finish(cancelled(stop));
  } else {
    worker.finish(stop.requested() ? withSighting(cancelled(stop), status.error()) : status.error());
  }
  return status;
}

Status lead(const NodeOptions& options, const Address& listen, Worker& worker, Membership& membership, ControlServer& server,
            StopSignal& stop) {
  server.setState(NodeState::kJoining);
  EXO_ASSIGN(const std::string endpoint, worker.openDataEndpoint(listen.host));
  EXO_ASSIGN(const Session session, membership.gather(endpoint, options.join_timeout));
  server.setState(NodeState::kLoading);
  Throttle throttle([&](uint64_t done, uint64_t total) {
    if (options.events.loading) options.events.loading(done, total);
    membership.loading(done, total);
  });
  EXO_TRY(worker.load(session, std::ref(throttle)));
  EXO_TRY(membership.awaitReady(options.load_patience));
  membership.go();
  server.setState(NodeState::kServing);
  reportReady(options, worker);
  return serve(worker, stop);
}

Status runCoordinator(const NodeOptions& options, const Security& security, Worker& worker, StopSignal& stop) {
  EXO_ASSIGN(const Address listen, listenAddress(options.listen, security));
  Membership membership(options.roster, stop);
  EXO_ASSIGN(const auto server, ControlServer::start(listen, {.info = options.info,
                                                              .security = &security,
                                                              .stop = &stop,
                                                              .membership = &membership,
                                                              .worker = &worker,
                                                              .coordinator = {},
                                                              .peer_timeout = options.peer_timeout}));
  if (options.events.listening) options.events.listening(server->address());
  std::optional<EverySecond> telling;
  if (options.events.members) telling.emplace(tellingOf(membership, worker, options.events));
  Status status = lead(options, listen, worker, membership, *server, stop);
  if (!status.ok()) stop.fail(status.error());
  server->setState(NodeState::kStopping);
  membership.drain(kDrain);
  return status;
}

Status workAsFollower(const NodeOptions& options, const Address& listen, const Security& security, Worker& worker, ControlServer& server,
                      StopSignal& stop) {
  EXO_ASSIGN(const Address coordinator, resolve(options.coordinator));
  EXO_ASSIGN(const std::string endpoint, worker.openDataEndpoint(listen.host));
  const uint32_t rank = options.info.rank;
  const JoinRequest request{.node = options.info.node,
                            .rank = rank,
                            .plan_hash = options.roster.plan_hash,
                            .program_hash = options.roster.nodes[rank].program_hash,
                            .weights = options.roster.weights,
                            .data_endpoint = endpoint};
  const JoinOptions join{.coordinator = coordinator,
                         .coordinator_name = options.roster.nodes[0].name,
                         .join_timeout = options.join_timeout,
                         .peer_timeout = options.peer_timeout};
  server.setState(NodeState::kJoining);
  EXO_ASSIGN(const auto follower, Follower::join(request, join, security, stop));
  const EverySecond reporting([&worker, &follower, machine = NodeReader()]() mutable { follower->report(reportOf(worker, machine)); });
  server.setState(NodeState::kLoading);
  Throttle throttle([&](uint64_t done, uint64_t total) {
    if (options.events.loading) options.events.loading(done, total);
    follower->loading(done, total);
  });
  Status status = worker.load(follower->session(), std::ref(throttle));
  if (status.ok()) {
    follower->ready(worker.memoryBytes());
    status = follower->awaitGo();
  }
  if (status.ok()) {
    server.setState(NodeState::kServing);
    reportReady(options, worker);
    status = worker.follow();
  }
  server.setState(NodeState::kStopping);
  if (!status.ok()) {
    // As in serve(): a broken link may be the effect of a cause that rank 0 knows.
    follower->failed(status.error(), status.error().scope() == ErrorScope::kLink ? kVerdictGrace : std::chrono::milliseconds(0));
    stop.fail(status.error());
  } else {
    // Rank 0 let it go; its reason is on its way.
    stop.waitFor(kVerdictGrace);
  }
  return status;
}

Status runFollower(const NodeOptions& options, const Security& security, Worker& worker, StopSignal& stop) {
  EXO_ASSIGN(const Address listen, listenAddress(options.listen, security));
  EXO_ASSIGN(const auto server, ControlServer::start(listen, {.info = options.info,
                                                              .security = &security,
                                                              .stop = &stop,
                                                              .membership = nullptr,
                                                              .worker = nullptr,
                                                              .coordinator = options.coordinator.text(),
                                                              .peer_timeout = options.peer_timeout}));
  if (options.events.listening) options.events.listening(server->address());
  return workAsFollower(options, listen, security, worker, *server, stop);
}

/// The first cause, and what this node saw of it.
Status conclude(const Status& status, StopSignal& stop) {
  if (!status.ok()) stop.fail(status.error());
  stop.stop("ended");
  std::optional<Error> error = stop.error();
  if (!error) return {};
  return status.ok() ? std::move(*error) : withSighting(std::move(*error), status.error());
}

}  // namespace

Status runNode(const NodeOptions& options, const Security& security, Worker& worker, StopSignal& stop) {
  EXO_CHECK(options.info.rank < options.roster.nodes.size()) << "rank " << options.info.rank << " of " << options.roster.nodes.size();
  const Status status = options.info.rank == 0 ? runCoordinator(options, security, worker, stop) : runFollower(options, security, worker, stop);
  return conclude(status, stop);
}

Status runMeasureOnly(const MeasureOptions& options, const Security& security, StopSignal& stop) {
  EXO_ASSIGN(const Address listen, listenAddress(options.listen, security));
  EXO_ASSIGN(const auto server, ControlServer::start(listen, {.info = {.node = options.node, .model = {}, .plan_hash = {}},
                                                              .security = &security,
                                                              .stop = &stop,
                                                              .membership = nullptr,
                                                              .worker = nullptr,
                                                              .coordinator = {},
                                                              .peer_timeout = options.peer_timeout}));
  server->setState(NodeState::kMeasuring);
  if (options.events.listening) options.events.listening(server->address());
  while (!stop.waitFor(std::chrono::seconds(1))) {}
  if (std::optional<Error> error = stop.error()) return std::move(*error);
  return {};
}

}  // namespace exo::cluster
