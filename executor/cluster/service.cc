#include "executor/cluster/service.h"

#include <grpcpp/grpcpp.h>

#include <mutex>

#include "executor/cluster/client.h"
#include "executor/cluster/control.grpc.pb.h"
#include "executor/cluster/group_probe.h"
#include "executor/cluster/link_probe.h"
#include "executor/cluster/measure.h"
#include "executor/cluster/run.h"
#include "executor/cluster/tls_log.h"
#include "executor/cluster/wire.h"
#include "ir/base/version.h"

namespace exo::cluster {
namespace {

constexpr std::chrono::milliseconds kPoll{50};            // how often a waiting call looks whether its client has gone
constexpr std::chrono::milliseconds kShutdownGrace{500};
constexpr int kMaxThreads = 256;                          // one per call: members and clients

/// "ipv4:127.0.0.1:4711" or "ipv6:%5B::1%5D:4711" to its literal; "" for anything else.
std::string hostOfPeer(std::string peer) {
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"%5B", "["}, {"%5D", "]"}}) {
    if (const size_t at = peer.find(from); at != std::string::npos) peer.replace(at, from.size(), to);
  }
  const size_t colon = peer.find(':');
  if (colon == std::string::npos) return "";
  const Result<Address> address = parseAddress(std::string_view(peer).substr(colon + 1));
  return address.ok() ? address->host : "";
}

using JoinStream = grpc::ServerReaderWriter<wire::ToMember, wire::FromMember>;

Result<ProbeTicket> fromWire(const wire::OpenProbeRequest& request) {
  ProbeTicket ticket{.epoch = request.epoch(), .transport = request.transport()};
  if (request.session_key().size() != ticket.key.size()) return invalid("a session key has ", ticket.key.size(), " bytes, got ", request.session_key().size());
  std::copy(request.session_key().begin(), request.session_key().end(), ticket.key.begin());
  return ticket;
}

/// The stream lives as long as the call's handler; the link may be held longer by who sends to it.
class StreamLink : public MemberLink {
 public:
  explicit StreamLink(JoinStream* stream) : stream_(stream) {}
  void send(const wire::ToMember& message) override {
    const std::lock_guard lock(mutex_);
    if (stream_ != nullptr) stream_->Write(message);  // a broken stream shows in the handler's Read
  }
  void close() {
    const std::lock_guard lock(mutex_);
    stream_ = nullptr;
  }

 private:
  std::mutex mutex_;
  JoinStream* stream_;
};

}  // namespace

const char* name(NodeState state) {
  switch (state) {
    case NodeState::kStarting: return "starting";
    case NodeState::kJoining: return "joining";
    case NodeState::kLoading: return "loading";
    case NodeState::kServing: return "serving";
    case NodeState::kStopping: return "stopping";
    case NodeState::kMeasuring: return "measuring";
    case NodeState::kLost: return "lost";
  }
  return "unknown";
}

class ControlServer::Implementation final : public wire::Control::Service {
 public:
  explicit Implementation(const ServiceParts& parts) : parts_(parts) {}

  Result<Address> listen(const Address& address) {
    EXO_TRY(parts_.security->allow(address, "listen on"));
    captureGrpcLog();
    address_ = address;
    int port = 0;
    grpc::ServerBuilder builder;
    for (const ChannelArgument& each : livenessArguments(parts_.peer_timeout)) builder.AddChannelArgument(each.name, each.value);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // else two processes share a port without noticing
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000);
    builder.SetResourceQuota(grpc::ResourceQuota().SetMaxThreads(kMaxThreads));
    const std::string target = address.text();
    builder.AddListeningPort(target, parts_.security->serverCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return makeError(ErrorCode::kIo, "cannot listen on ", address.text(), ": the port is taken or the address is not this machine's");
    }
    address_.port = static_cast<uint16_t>(port);
    return address_;
  }

  void shutdown() {
    stopping_ = true;
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  }

  grpc::Status Join(grpc::ServerContext* context, JoinStream* stream) override {
    if (parts_.membership == nullptr) return toGrpc(notCoordinator());
    const std::string host = hostOfPeer(context->peer());
    wire::FromMember message;
    if (!stream->Read(&message)) return toGrpc(invalid("the node left before it said who it is"));
    if (!message.has_hello()) return toGrpc(invalid("the first message of a node must say who it is"));
    const uint32_t rank = message.hello().rank();
    const auto link = std::make_shared<StreamLink>(stream);
    if (Status entered = parts_.membership->enter(message.hello(), host, link); !entered.ok()) return toGrpc(entered.error());
    bool farewell = false;
    while (stream->Read(&message)) {
      farewell = farewell || message.has_failed() || message.has_leaving();
      parts_.membership->received(rank, message);
    }
    link->close();
    parts_.membership->left(rank, farewell ? "it ended" : "its connection broke: the process ended, or its host did not answer for " +
                                                              std::to_string(parts_.peer_timeout.count() / 1000.0).substr(0, 4) + " s");
    return grpc::Status::OK;
  }

  grpc::Status Generate(grpc::ServerContext* context, const wire::GenerateRequest* message,
                        grpc::ServerWriter<wire::GenerateEvent>* writer) override {
    if (parts_.worker == nullptr) return toGrpc(notCoordinator());
    Result<GenerateRequest> request = cluster::fromWire(*message);
    if (!request.ok()) return toGrpc(request.error());
    if (state_ != NodeState::kServing) {
      return toGrpc(makeError(ErrorCode::kNotFound, "node \"", parts_.info.node, "\" is not serving yet: it is ", name(state_)));
    }
    const auto job = std::make_shared<GenerateJob>(std::move(*request));
    const Result<uint64_t> taken = parts_.worker->submit(job);
    if (!taken.ok()) return toGrpc(taken.error());
    if (!forward(context, *job, writer)) {
      job->cancel();
      parts_.worker->cancel(*taken);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetStatus(grpc::ServerContext*, const wire::StatusRequest*, wire::StatusReply* reply) override {
    reply->set_version(kVersion);
    reply->set_state(name(state_));
    reply->set_node(parts_.info.node);
    reply->set_rank(parts_.info.rank);
    reply->set_world_size(parts_.info.world_size);
    reply->set_memory_bytes(residentBytes());
    reply->set_model(parts_.info.model);
    reply->set_plan_hash(parts_.info.plan_hash);
    if (parts_.worker != nullptr) {
      const ServeCounts counts = parts_.worker->counts();
      reply->set_tokens_served(counts.tokens);
      reply->set_requests_running(counts.running);
      reply->set_requests_waiting(counts.waiting);
    }
    if (parts_.membership != nullptr) {
      for (const std::string& node : parts_.membership->present()) reply->add_members_here(node);
    }
    return grpc::Status::OK;
  }

  grpc::Status Measure(grpc::ServerContext*, const wire::MeasureRequest* request, wire::MeasureReply* reply) override {
    if (Status free = mayMeasure(); !free.ok()) return toGrpc(free.error());
    const std::unique_lock one_at_a_time(measuring_, std::try_to_lock);
    if (!one_at_a_time) return toGrpc(makeError(ErrorCode::kDoesNotFit, "node \"", parts_.info.node, "\" is being measured already"));
    const Result<Measurement> measurement = measureNode(request->threads());
    if (!measurement.ok()) return toGrpc(measurement.error());
    *reply = toWire(*measurement);
    return grpc::Status::OK;
  }

  grpc::Status MeasureLink(grpc::ServerContext*, const wire::MeasureLinkRequest* request, wire::MeasureLinkReply* reply) override {
    if (Status free = mayMeasure(); !free.ok()) return toGrpc(free.error());
    const Result<LinkMeasurement> measurement = measureLinkTo(request->peer(), request->transport());
    if (!measurement.ok()) return toGrpc(measurement.error());
    *reply = toWire(*measurement);
    return grpc::Status::OK;
  }

  grpc::Status OpenProbe(grpc::ServerContext*, const wire::OpenProbeRequest* request, wire::OpenProbeReply* reply) override {
    if (Status free = mayMeasure(); !free.ok()) return toGrpc(free.error());
    const Result<ProbeTicket> ticket = fromWire(*request);
    if (!ticket.ok()) return toGrpc(ticket.error());
    const Result<std::string> endpoint = probes_.open(address_.host, *ticket);
    if (!endpoint.ok()) return toGrpc(endpoint.error());
    reply->set_data_endpoint(*endpoint);
    return grpc::Status::OK;
  }

  grpc::Status OpenGroup(grpc::ServerContext*, const wire::OpenGroupRequest* request, wire::OpenProbeReply* reply) override {
    if (Status free = mayMeasure(); !free.ok()) return toGrpc(free.error());
    const Result<ProbeTicket> ticket = fromWire(request->link());
    if (!ticket.ok()) return toGrpc(ticket.error());
    const Result<std::string> endpoint = groups_.open(address_.host, {*ticket, request->rank(), request->world()});
    if (!endpoint.ok()) return toGrpc(endpoint.error());
    reply->set_data_endpoint(*endpoint);
    return grpc::Status::OK;
  }

  grpc::Status MeasureGroup(grpc::ServerContext*, const wire::MeasureGroupRequest* request, wire::MeasureGroupReply* reply) override {
    if (Status free = mayMeasure(); !free.ok()) return toGrpc(free.error());
    Session session{.epoch = request->epoch()};
    for (const wire::Member& member : request->members()) session.members.push_back({member.node(), member.rank(), member.data_endpoint()});
    const Result<collectives::Calibration> calibration = groups_.measure(session, parts_.stop->flag());
    if (!calibration.ok()) return toGrpc(calibration.error());
    *reply = toWire(*calibration);
    return grpc::Status::OK;
  }

  grpc::Status Shutdown(grpc::ServerContext*, const wire::ShutdownRequest* request, wire::ShutdownReply*) override {
    parts_.stop->stop(request->reason().empty() ? "asked by a client" : request->reason().substr(0, 200));
    return grpc::Status::OK;
  }

  std::atomic<NodeState> state_ = NodeState::kStarting;

 private:
  Error notCoordinator() const {
    return makeError(ErrorCode::kInvalidInput, "node \"", parts_.info.node, "\" (rank ", parts_.info.rank, ") takes no such requests",
                     parts_.coordinator.empty() ? "" : "; ask rank 0 at ", parts_.coordinator);
  }

  Status mayMeasure() const {
    if (state_ == NodeState::kMeasuring) return {};
    return makeError(ErrorCode::kUnsupported, "node \"", parts_.info.node, "\" runs a model and cannot be measured now; stop it, or start exo-exec --measure_only");
  }

  /// False: the client has gone, or this node stops.
  bool forward(grpc::ServerContext* context, GenerateJob& job, grpc::ServerWriter<wire::GenerateEvent>* writer) {
    // What is queued is delivered, also while stopping: the last event says how the generation ended.
    while (true) {
      const std::optional<wire::GenerateEvent> event = job.next(kPoll);
      if (!event && stopping_) return false;
      const bool gone = context->IsCancelled() || (event && !writer->Write(*event));
      if (gone) return false;
      if (event && (event->has_done() || event->has_error())) return true;
    }
  }

  Result<LinkMeasurement> measureLinkTo(const std::string& peer, const std::string& transport) {
    EXO_ASSIGN(const ProbeTicket ticket, makeProbeTicket(transport));
    EXO_ASSIGN(const Address parsed, parseAddress(peer));
    EXO_ASSIGN(const Address address, resolve(parsed));
    EXO_ASSIGN(const auto client, ControlClient::connect(address, *parts_.security, {.connect_timeout = parts_.peer_timeout}));
    EXO_ASSIGN(const std::string endpoint, client->openProbe(ticket));
    return measureLink(endpoint, address.host, "the node at " + peer, ticket, parts_.stop->flag());
  }

  const ServiceParts parts_;
  Address address_;
  LinkProbes probes_;
  GroupProbes groups_;
  std::mutex measuring_;
  std::atomic<bool> stopping_ = false;
  std::unique_ptr<grpc::Server> server_;  // last: it must be gone before what its calls use
};

ControlServer::ControlServer() = default;
ControlServer::~ControlServer() {
  if (implementation_ != nullptr) implementation_->shutdown();
}

Result<std::unique_ptr<ControlServer>> ControlServer::start(const Address& listen, const ServiceParts& parts) {
  std::unique_ptr<ControlServer> server(new ControlServer());
  server->implementation_ = std::make_unique<Implementation>(parts);
  EXO_ASSIGN(server->address_, server->implementation_->listen(listen));
  return server;
}

void ControlServer::setState(NodeState state) { implementation_->state_ = state; }

}  // namespace exo::cluster
