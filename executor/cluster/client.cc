#include "executor/cluster/client.h"

#include <grpcpp/grpcpp.h>

#include <cstring>
#include <thread>

#include "executor/cluster/control.grpc.pb.h"
#include "executor/cluster/tls_log.h"
#include "executor/cluster/wire.h"

namespace exo::cluster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRetryPause{100};
constexpr std::chrono::milliseconds kMeasurePatience{30'000};
constexpr int64_t kMaxLogitsColumns = 1 << 24;

NodeStatus fromWire(const wire::StatusReply& reply) {
  NodeStatus status;
  status.info = {reply.node(), reply.rank(), reply.world_size(), reply.model(), reply.plan_hash()};
  status.version = reply.version();
  status.state = reply.state();
  status.memory_bytes = reply.memory_bytes();
  status.tokens_served = reply.tokens_served();
  status.requests_running = reply.requests_running();
  status.requests_waiting = reply.requests_waiting();
  status.members_here.assign(reply.members_here().begin(), reply.members_here().end());
  return status;
}

wire::OpenProbeRequest toWire(const ProbeTicket& ticket) {
  wire::OpenProbeRequest request;
  request.set_session_key(ticket.key.data(), ticket.key.size());
  request.set_epoch(ticket.epoch);
  request.set_transport(ticket.transport);
  return request;
}

Status deliverLogits(const wire::LogitsChunk& chunk, GenerateSink& sink) {
  std::vector<float> values(chunk.values().size() / sizeof(float));
  const auto count = static_cast<int64_t>(values.size());
  if (chunk.values().size() != values.size() * sizeof(float) || chunk.column_begin() < 0 || chunk.columns() > kMaxLogitsColumns ||
      chunk.column_begin() > chunk.columns() - count) {
    return makeError(ErrorCode::kMismatch, "the node sent logits of columns ", chunk.column_begin(), " and ", count, " more of ", chunk.columns());
  }
  std::memcpy(values.data(), chunk.values().data(), chunk.values().size());
  return sink.logits(chunk.position(), chunk.column_begin(), chunk.columns(), values);
}

/// Cancels a call from outside its blocking reads.
class Canceller {
 public:
  Canceller(grpc::ClientContext& context, const std::atomic<bool>* cancel) {
    if (cancel == nullptr) return;
    thread_ = std::thread([this, &context, cancel] {
      while (!over_) {
        if (*cancel) {
          context.TryCancel();
          return;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    });
  }
  ~Canceller() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace

class ControlClient::Implementation {
 public:
  Implementation(const Address& address, const Security& security, const Options& options)
      : where_("the node at " + address.text()),
        host_(address.host),
        has_secret_(security.hasSecret()),
        options_(options),
        channel_(grpc::CreateCustomChannel(grpcTarget(address), security.channelCredentials(), clientArguments(options.peer_timeout))),
        stub_(wire::Control::NewStub(channel_)) {}

  Status waitForAnswer() {
    const auto deadline = Clock::now() + options_.connect_timeout;
    for (;;) {
      const Result<NodeStatus> answer = status(std::max(kRetryPause, std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now())));
      if (answer.ok()) return {};
      const bool may_come = answer.error().code() == ErrorCode::kPeerLost;
      if (!may_come || Clock::now() + kRetryPause >= deadline) return answer.error();
      std::this_thread::sleep_for(kRetryPause);
    }
  }

  Result<NodeStatus> status(std::chrono::milliseconds timeout) {
    wire::StatusReply reply;
    EXO_TRY(call(&wire::Control::Stub::GetStatus, wire::StatusRequest(), &reply, timeout));
    return fromWire(reply);
  }

  template <class Request, class Reply>
  Status call(grpc::Status (wire::Control::Stub::*method)(grpc::ClientContext*, const Request&, Reply*), const Request& request, Reply* reply,
              std::chrono::milliseconds timeout) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    const grpc::Status status = (stub_.get()->*method)(&context, request, reply);
    if (!status.ok()) return explain(status);
    return {};
  }

  /// An error of the connection may be a matter of secrets; then say so.
  Error explain(const grpc::Status& status) const {
    Error error = fromGrpc(status, where_);
    if (error.code() != ErrorCode::kPeerLost || has_secret_ || !status.error_details().empty()) return error;
    const std::string& message = status.error_message();
    // What a TLS server does to a client that speaks in clear: it hangs up.
    if (message.find("Socket closed") == std::string::npos && message.find("reset by peer") == std::string::npos) return error;
    return std::move(error).note("if it was started with --secret_file, this side needs the same --secret_file");
  }

  Result<GenerateStats> generate(const GenerateRequest& request, GenerateSink& sink, const std::atomic<bool>* cancel) {
    grpc::ClientContext context;
    const auto reader = stub_->Generate(&context, cluster::toWire(request));
    const Canceller canceller(context, cancel);
    std::optional<Result<GenerateStats>> outcome;
    wire::GenerateEvent event;
    while (!outcome && reader->Read(&event)) {
      Status status;
      if (event.has_token()) status = sink.token(event.token());
      if (event.has_logits()) status = deliverLogits(event.logits(), sink);
      if (event.has_done()) outcome = cluster::fromWire(event.done());
      if (event.has_error()) outcome = cluster::fromWire(event.error());
      if (!status.ok()) outcome = std::move(status).error();
    }
    if (outcome) {
      context.TryCancel();  // in case it was the sink that ended it
      while (reader->Read(&event)) {}
      (void)reader->Finish();
      return std::move(*outcome);
    }
    const grpc::Status status = reader->Finish();
    if (cancel != nullptr && *cancel) return makeError(ErrorCode::kCancelled, "the generation was cancelled");
    if (status.ok()) return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, where_, " ended the generation without a result");
    return explain(status);
  }

  const std::string where_, host_;
  const bool has_secret_;
  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<wire::Control::Stub> stub_;
};

ControlClient::ControlClient(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
ControlClient::~ControlClient() = default;

Result<std::unique_ptr<ControlClient>> ControlClient::connect(const Address& address, const Security& security, const Options& options) {
  captureGrpcLog();
  EXO_ASSIGN(const Address resolved, resolve(address));
  EXO_TRY(security.allow(resolved, "connect to"));
  auto implementation = std::make_unique<Implementation>(resolved, security, options);
  EXO_TRY(implementation->waitForAnswer());
  return std::unique_ptr<ControlClient>(new ControlClient(std::move(implementation)));
}

Result<GenerateStats> ControlClient::generate(const GenerateRequest& request, GenerateSink& sink, const std::atomic<bool>* cancel) {
  return implementation_->generate(request, sink, cancel);
}

Result<NodeStatus> ControlClient::status() { return implementation_->status(implementation_->options_.peer_timeout); }

Result<Measurement> ControlClient::measure(int threads) {
  wire::MeasureRequest request;
  request.set_threads(threads);
  wire::MeasureReply reply;
  EXO_TRY(implementation_->call(&wire::Control::Stub::Measure, request, &reply, kMeasurePatience));
  return fromWire(reply);
}

Result<LinkMeasurement> ControlClient::measureLink(const std::string& peer, const std::string& transport) {
  wire::MeasureLinkRequest request;
  request.set_peer(peer);
  request.set_transport(transport);
  wire::MeasureLinkReply reply;
  EXO_TRY(implementation_->call(&wire::Control::Stub::MeasureLink, request, &reply, kMeasurePatience));
  return fromWire(reply);
}

Result<std::string> ControlClient::openProbe(const ProbeTicket& ticket) {
  wire::OpenProbeReply reply;
  EXO_TRY(implementation_->call(&wire::Control::Stub::OpenProbe, toWire(ticket), &reply, implementation_->options_.peer_timeout));
  return reply.data_endpoint();
}

Result<std::string> ControlClient::openGroup(const GroupTicket& ticket) {
  wire::OpenGroupRequest request;
  *request.mutable_link() = toWire(ticket.link);
  request.set_rank(ticket.rank);
  request.set_world(ticket.world);
  wire::OpenProbeReply reply;
  EXO_TRY(implementation_->call(&wire::Control::Stub::OpenGroup, request, &reply, implementation_->options_.peer_timeout));
  EXO_ASSIGN(transport::Endpoint endpoint, transport::Endpoint::parse(reply.data_endpoint()));
  if (isUnspecified(endpoint.address)) endpoint.address = implementation_->host_;
  return endpoint.text();
}

Result<collectives::Calibration> ControlClient::measureGroup(const Session& session) {
  wire::MeasureGroupRequest request;
  request.set_epoch(session.epoch);
  for (const SessionMember& member : session.members) {
    wire::Member* added = request.add_members();
    added->set_node(member.node);
    added->set_rank(member.rank);
    added->set_data_endpoint(member.data_endpoint);
  }
  wire::MeasureGroupReply reply;
  EXO_TRY(implementation_->call(&wire::Control::Stub::MeasureGroup, request, &reply, kMeasurePatience));
  return fromWire(reply);
}

Status ControlClient::shutdown(const std::string& reason) {
  wire::ShutdownRequest request;
  request.set_reason(reason);
  wire::ShutdownReply reply;
  return implementation_->call(&wire::Control::Stub::Shutdown, request, &reply, implementation_->options_.peer_timeout);
}

}  // namespace exo::cluster
