#include "executor/cluster/follower.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "executor/cluster/control.grpc.pb.h"
#include "executor/cluster/tls_log.h"
#include "executor/cluster/wire.h"
#include "executor/transport/listener.h"
#include "ir/base/version.h"

namespace exo::cluster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRetryPause{200};
// Rank 0 may have begun to wait for the others up to its own --join_timeout after this node did.
constexpr int kWelcomeTimeouts = 3;
constexpr std::chrono::milliseconds kFarewell{500};

Error cancelled(const StopSignal& stop) {
  return stop.error().value_or(makeError(ErrorCode::kCancelled, "stopping: ", stop.reason()));
}

Result<Session> sessionFrom(const wire::Welcome& welcome, const JoinRequest& request, const std::string& coordinator_host) {
  Session session{.epoch = welcome.epoch()};
  if (welcome.session_key().size() != session.key.size()) {
    return makeError(ErrorCode::kMismatch, ErrorScope::kJob, "rank 0 sent a session key of ", welcome.session_key().size(), " bytes, expected 32");
  }
  std::copy(welcome.session_key().begin(), welcome.session_key().end(), session.key.begin());
  for (const wire::Member& member : welcome.members()) {
    if (member.rank() != session.members.size()) return makeError(ErrorCode::kMismatch, ErrorScope::kJob, "rank 0 sent members out of order");
    EXO_ASSIGN(transport::Endpoint endpoint, transport::Endpoint::parse(member.data_endpoint()));
    if (isUnspecified(endpoint.address)) endpoint.address = coordinator_host;
    session.members.push_back({member.node(), member.rank(), endpoint.text()});
  }
  if (request.rank >= session.members.size() || session.members[request.rank].node != request.node) {
    return makeError(ErrorCode::kMismatch, ErrorScope::kJob, "rank 0's members do not have node \"", request.node, "\" at rank ", request.rank);
  }
  return session;
}

}  // namespace

class Follower::Implementation {
 public:
  Implementation(const JoinRequest& request, const JoinOptions& options, const Security& security, StopSignal& stop)
      : request_(request),
        options_(options),
        where_("node \"" + options.coordinator_name + "\" (rank 0) at " + options.coordinator.text()),
        stop_(stop),
        stub_(wire::Control::NewStub(grpc::CreateCustomChannel(grpcTarget(options.coordinator), security.channelCredentials(),
                                                               clientArguments(options.peer_timeout)))) {}

  ~Implementation() {
    if (reader_.joinable()) hangUp();
  }

  Status join() {
    const auto deadline = Clock::now() + options_.join_timeout;
    for (;;) {
      if (stop_.requested()) return cancelled(stop_);
      Status answered = attempt(deadline);
      if (answered.ok()) return {};
      const bool may_come = answered.error().code() == ErrorCode::kPeerLost && answered.error().scope() == ErrorScope::kLink;
      if (!may_come) return answered;
      if (Clock::now() + kRetryPause >= deadline) {
        return makeError(ErrorCode::kTimeout, ErrorScope::kJob, "after ", options_.join_timeout.count() / 1000.0, " s: ", answered.error().message());
      }
      if (stop_.waitFor(kRetryPause)) return cancelled(stop_);
    }
  }

  /// From the welcome on: everything that comes over the stream.
  void startReading() {
    subscription_.reset(new StopSignal::Subscription(stop_.onStop([this] { sayWhy(); })));
    reader_ = std::thread([this] { readUntilEnd(); });
  }

  Status awaitGo() {
    std::unique_lock lock(mutex_);
    while (!went_ && !stop_.requested()) changed_.wait_for(lock, std::chrono::milliseconds(50));
    if (stop_.requested()) return cancelled(stop_);
    return {};
  }

  void send(const wire::FromMember& message) {
    const std::lock_guard lock(write_mutex_);
    if (stream_ != nullptr) stream_->Write(message);  // a broken stream shows in the reader
  }

  Session session_;
  StopSignal& stop() { return stop_; }

 private:
  using Stream = grpc::ClientReaderWriter<wire::FromMember, wire::ToMember>;

  /// One try: kPeerLost of scope kLink when rank 0 cannot be reached (yet).
  Status attempt(Clock::time_point reach_deadline) {
    context_ = std::make_unique<grpc::ClientContext>();
    std::unique_ptr<Stream> stream = stub_->Join(context_.get());
    stream->Write(hello());
    // Read blocks; the watch ends it when time is up, or this process is told to stop.
    std::atomic<bool> arrived = false;
    std::thread watch([&] {
      const auto deadline = reach_deadline + kWelcomeTimeouts * options_.join_timeout;
      while (!arrived && !stop_.waitFor(std::chrono::milliseconds(10)) && Clock::now() < deadline) {}
      if (!arrived) context_->TryCancel();
    });
    wire::ToMember message;
    const bool read = stream->Read(&message);
    arrived = true;
    watch.join();
    if (!read) return refusal(stream->Finish());
    Status status = welcomed(message);
    if (status.ok()) {
      stream_ = std::move(stream);
      return status;
    }
    context_->TryCancel();
    (void)stream->Finish();
    return status;
  }

  Error refusal(const grpc::Status& status) const {
    if (stop_.requested()) return cancelled(stop_);
    if (status.error_code() == grpc::StatusCode::CANCELLED && status.error_details().empty()) {
      return makeError(ErrorCode::kTimeout, ErrorScope::kJob, where_, " did not begin in time");
    }
    if (status.ok()) return makeError(ErrorCode::kPeerLost, ErrorScope::kJob, where_, " ended before the cluster was complete");
    return fromGrpc(status, where_);
  }

  Status welcomed(const wire::ToMember& message) {
    if (message.has_abort()) return fromWire(message.abort());
    if (message.has_stop()) return makeError(ErrorCode::kCancelled, where_, " was stopped: ", message.stop().reason());
    if (!message.has_welcome()) return makeError(ErrorCode::kMismatch, ErrorScope::kJob, where_, " did not answer with a welcome");
    EXO_ASSIGN(session_, sessionFrom(message.welcome(), request_, options_.coordinator.host));
    return {};
  }

  wire::FromMember hello() const {
    wire::FromMember message;
    wire::Hello* hello = message.mutable_hello();
    hello->set_version(kVersion);
    hello->set_node(request_.node);
    hello->set_rank(request_.rank);
    hello->set_plan_hash(request_.plan_hash);
    hello->set_program_hash(request_.program_hash);
    hello->set_weights(request_.weights);
    hello->set_data_endpoint(request_.data_endpoint);
    return message;
  }

  void readUntilEnd() {
    wire::ToMember message;
    while (stream_->Read(&message)) {
      if (message.has_abort()) endedByCoordinator(fromWire(message.abort()));
      if (message.has_stop()) endedByCoordinator(message.stop().reason());
      if (message.has_go()) {
        const std::lock_guard lock(mutex_);
        went_ = true;
      }
      changed_.notify_all();
    }
    const grpc::Status status = stream_->Finish();
    const std::string cause = status.ok() ? "it hung up" : fromGrpc(status, "it").message();
    endedByCoordinator(makeError(ErrorCode::kPeerLost, ErrorScope::kJob, "lost ", where_, " while ", went_ ? "serving" : "loading", ": ", cause));
    changed_.notify_all();
  }

  void endedByCoordinator(Error error) {
    if (!stop_.requested()) told_ = true;
    stop_.fail(std::move(error));
  }
  void endedByCoordinator(const std::string& reason) {
    if (!stop_.requested()) told_ = true;
    stop_.stop(reason);
  }

  void sayWhy() {
    if (told_.exchange(true)) return;
    wire::FromMember message;
    if (const std::optional<Error> error = stop_.error()) {
      *message.mutable_failed() = toWire(*error);
    } else {
      message.mutable_leaving()->set_reason(stop_.reason());
    }
    send(message);
  }

  void hangUp() {
    stop_.stop("ended");  // at the latest now; sayWhy runs
    subscription_.reset();
    {
      const std::lock_guard lock(write_mutex_);
      stream_->WritesDone();
    }
    // Rank 0 hangs up in turn; a dead one does not.
    std::atomic<bool> over = false;
    std::thread watch([&] {
      const auto deadline = Clock::now() + kFarewell;
      while (!over && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      if (!over) context_->TryCancel();
    });
    reader_.join();
    over = true;
    watch.join();
  }

  const JoinRequest request_;
  const JoinOptions options_;
  const std::string where_;
  StopSignal& stop_;
  const std::unique_ptr<wire::Control::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
  std::mutex write_mutex_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> went_ = false;
  std::atomic<bool> told_ = false;  // both sides know the end
  std::unique_ptr<StopSignal::Subscription> subscription_;
  std::thread reader_;

  friend class Follower;
};

Follower::Follower(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Follower::~Follower() = default;

Result<std::unique_ptr<Follower>> Follower::join(const JoinRequest& request, const JoinOptions& options, const Security& security, StopSignal& stop) {
  captureGrpcLog();
  EXO_TRY(security.allow(options.coordinator, "connect to"));
  auto implementation = std::make_unique<Implementation>(request, options, security, stop);
  EXO_TRY(implementation->join());
  implementation->startReading();
  return std::unique_ptr<Follower>(new Follower(std::move(implementation)));
}

const Session& Follower::session() const { return implementation_->session_; }

void Follower::loading(uint64_t done_bytes, uint64_t total_bytes) {
  wire::FromMember message;
  message.mutable_loading()->set_done_bytes(done_bytes);
  message.mutable_loading()->set_total_bytes(total_bytes);
  implementation_->send(message);
}

void Follower::ready(uint64_t memory_bytes) {
  wire::FromMember message;
  message.mutable_ready()->set_memory_bytes(memory_bytes);
  implementation_->send(message);
}

void Follower::report(const NodeReport& report) {
  if (implementation_->stop_.requested()) return;  // its last message has been sent, or is about to be
  wire::FromMember message;
  *message.mutable_report() = toWire(report);
  implementation_->send(message);
}

Status Follower::awaitGo() { return implementation_->awaitGo(); }

void Follower::failed(const Error& error, std::chrono::milliseconds grace) {
  if (implementation_->stop_.requested()) return;
  implementation_->told_ = true;
  wire::FromMember message;
  *message.mutable_failed() = toWire(error);
  implementation_->send(message);
  implementation_->stop_.waitFor(grace);
}

}  // namespace exo::cluster
