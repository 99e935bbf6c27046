#include "executor/cluster/wire.h"

#include <grpc/grpc.h>

#include <algorithm>

#include "executor/cluster/tls_identity.h"
#include "executor/cluster/tls_log.h"

namespace exo::cluster {
namespace {

// Details travel in a trailer, and gRPC's limit for all of them is 8 KiB.
constexpr size_t kMaxMessageBytes = 3000;

constexpr int kMaxLinks = 4096;   // of one node's report

constexpr ErrorCode kCodes[] = {ErrorCode::kInvalidInput, ErrorCode::kUnsupported, ErrorCode::kNotFound,
                                ErrorCode::kIo,           ErrorCode::kDoesNotFit,  ErrorCode::kTimeout,
                                ErrorCode::kPeerLost,     ErrorCode::kCancelled,   ErrorCode::kMismatch};
constexpr ErrorScope kScopes[] = {ErrorScope::kRequest, ErrorScope::kLink, ErrorScope::kRank, ErrorScope::kJob};

grpc::StatusCode grpcCode(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidInput: return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorCode::kUnsupported: return grpc::StatusCode::UNIMPLEMENTED;
    case ErrorCode::kNotFound: return grpc::StatusCode::NOT_FOUND;
    case ErrorCode::kIo: return grpc::StatusCode::INTERNAL;
    case ErrorCode::kDoesNotFit: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case ErrorCode::kTimeout: return grpc::StatusCode::DEADLINE_EXCEEDED;
    case ErrorCode::kPeerLost: return grpc::StatusCode::ABORTED;
    case ErrorCode::kCancelled: return grpc::StatusCode::CANCELLED;
    case ErrorCode::kMismatch: return grpc::StatusCode::FAILED_PRECONDITION;
  }
  return grpc::StatusCode::UNKNOWN;
}

std::string clipped(const std::string& message) {
  return message.size() <= kMaxMessageBytes ? message : message.substr(0, kMaxMessageBytes) + " … (cut)";
}

/// Control characters out: the message will be printed on somebody's terminal.
std::string printable(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 32 && c != '\n') || byte == 127) c = '?';
  }
  return text;
}

}  // namespace

const char* name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kLength: return "length";
    case FinishReason::kEos: return "eos";
    case FinishReason::kCancelled: return "cancelled";
  }
  return "unknown";
}

wire::Failure toWire(const Error& error) {
  wire::Failure failure;
  failure.set_code(name(error.code()));
  failure.set_scope(name(error.scope()));
  failure.set_message(clipped(error.message()));
  return failure;
}

Error fromWire(const wire::Failure& failure) {
  ErrorCode code = ErrorCode::kIo;
  ErrorScope scope = ErrorScope::kJob;
  for (const ErrorCode each : kCodes) {
    if (failure.code() == name(each)) code = each;
  }
  for (const ErrorScope each : kScopes) {
    if (failure.scope() == name(each)) scope = each;
  }
  return Error(code, printable(clipped(failure.message())), scope);
}

grpc::Status toGrpc(const Error& error) {
  return grpc::Status(grpcCode(error.code()), clipped(error.message()), toWire(error).SerializeAsString());
}

Error fromGrpc(const grpc::Status& status, const std::string& peer) {
  if (!status.error_details().empty()) {
    wire::Failure failure;
    if (failure.ParseFromString(status.error_details()) && !failure.code().empty()) return fromWire(failure);
  }
  const std::string message = printable(clipped(status.error_message()));
  if (const std::string why = explainTls(message); !why.empty()) {
    return makeError(ErrorCode::kMismatch, ErrorScope::kJob, "cannot talk to ", peer, ": ", why);
  }
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return makeError(ErrorCode::kTimeout, ErrorScope::kLink, peer, " did not answer in time");
    case grpc::StatusCode::CANCELLED:
      return makeError(ErrorCode::kCancelled, "the call to ", peer, " was cancelled");
    case grpc::StatusCode::UNIMPLEMENTED:
      return makeError(ErrorCode::kUnsupported, peer, " does not know this call: it is another version or another program");
    default:
      return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, "no connection to ", peer, ": ", message);
  }
}

wire::Report toWire(const NodeReport& report) {
  wire::Report message;
  if (const auto& held = report.engine.memory) {
    wire::Report::Memory& memory = *message.mutable_memory();
    memory.set_weights(held->weights);
    memory.set_kv(held->kv);
    memory.set_arena(held->arena);
    memory.set_scratch(held->scratch);
  }
  for (const EngineReport::Link& each : report.engine.links) {
    wire::Report::Link& link = *message.add_links();
    link.set_to(each.to);
    link.set_transport(each.transport);
    link.set_why(clipped(each.why));
    link.set_sent_bytes(each.sent_bytes);
  }
  message.set_resident_bytes(report.resident_bytes);
  wire::Report::Machine& machine = *message.mutable_machine();
  machine.set_processor(clipped(report.machine.processor));
  machine.set_processors(report.machine.processors);
  if (report.machine.processor_share) machine.set_processor_share(*report.machine.processor_share);
  machine.set_memory_bytes(report.machine.memory_bytes);
  machine.set_available_bytes(report.machine.available_bytes);
  if (report.machine.temperature_c) machine.set_temperature_c(*report.machine.temperature_c);
  if (report.machine.power_w) machine.set_power_w(*report.machine.power_w);
  return message;
}

NodeReport fromWire(const wire::Report& message) {
  const auto within = [](bool given, double value, double least, double most) {
    return given && value >= least && value <= most ? std::optional(value) : std::nullopt;   // false for what is no number
  };
  NodeReport report;
  if (message.has_memory()) {
    const wire::Report::Memory& memory = message.memory();
    report.engine.memory = EngineReport::Memory{memory.weights(), memory.kv(), memory.arena(), memory.scratch()};
  }
  for (int i = 0; i < std::min(message.links_size(), kMaxLinks); ++i) {
    const wire::Report::Link& link = message.links(i);
    report.engine.links.push_back({link.to(), printable(clipped(link.transport())), printable(clipped(link.why())), link.sent_bytes()});
  }
  report.resident_bytes = message.resident_bytes();
  const wire::Report::Machine& machine = message.machine();
  report.machine.processor = printable(clipped(machine.processor()));
  report.machine.processors = std::max(0, machine.processors());
  report.machine.processor_share = within(machine.has_processor_share(), machine.processor_share(), 0, 1);
  report.machine.memory_bytes = machine.memory_bytes();
  report.machine.available_bytes = machine.available_bytes();
  report.machine.temperature_c = within(machine.has_temperature_c(), machine.temperature_c(), -273.15, 1000);
  report.machine.power_w = within(machine.has_power_w(), machine.power_w(), 0, 1e6);
  return report;
}

wire::GenerateRequest toWire(const GenerateRequest& request) {
  wire::GenerateRequest message;
  message.mutable_prompt()->Add(request.prompt.begin(), request.prompt.end());
  message.set_max_tokens(request.max_tokens);
  message.set_ignore_eos(request.ignore_eos);
  message.mutable_eos_ids()->Add(request.eos_ids.begin(), request.eos_ids.end());
  message.set_temperature(request.temperature);
  message.set_top_p(request.top_p);
  message.set_top_k(request.top_k);
  message.set_seed(request.seed);
  message.set_want_logits(request.want_logits);
  return message;
}

Result<GenerateRequest> fromWire(const wire::GenerateRequest& message) {
  if (message.prompt().empty()) return invalid("the prompt has no tokens; expected at least one");
  if (message.max_tokens() < 0) return invalid("max_tokens must not be negative, got ", message.max_tokens());
  for (const int32_t id : message.prompt()) {
    if (id < 0) return invalid("token ids must not be negative, got ", id, " in the prompt");
  }
  GenerateRequest request;
  request.prompt.assign(message.prompt().begin(), message.prompt().end());
  request.max_tokens = message.max_tokens();
  request.ignore_eos = message.ignore_eos();
  request.eos_ids.assign(message.eos_ids().begin(), message.eos_ids().end());
  request.temperature = message.temperature();
  request.top_p = message.top_p() == 0 ? 1 : message.top_p();
  request.top_k = message.top_k();
  request.seed = message.seed();
  request.want_logits = message.want_logits();
  return request;
}

wire::Done toWire(const GenerateStats& stats) {
  wire::Done done;
  done.set_reason(stats.reason == FinishReason::kLength ? wire::LENGTH
                  : stats.reason == FinishReason::kEos  ? wire::EOS
                                                        : wire::CANCELLED);
  done.set_prompt_tokens(stats.prompt_tokens);
  done.set_generated_tokens(stats.generated_tokens);
  done.set_prefill_seconds(stats.prefill_seconds);
  done.set_decode_seconds(stats.decode_seconds);
  return done;
}

GenerateStats fromWire(const wire::Done& done) {
  GenerateStats stats;
  stats.reason = done.reason() == wire::EOS      ? FinishReason::kEos
                 : done.reason() == wire::LENGTH ? FinishReason::kLength
                                                 : FinishReason::kCancelled;
  stats.prompt_tokens = done.prompt_tokens();
  stats.generated_tokens = done.generated_tokens();
  stats.prefill_seconds = done.prefill_seconds();
  stats.decode_seconds = done.decode_seconds();
  return stats;
}

wire::MeasureReply toWire(const Measurement& measurement) {
  wire::MeasureReply reply;
  for (const ReadRate& each : measurement.read) {
    wire::ReadBandwidth* read = reply.add_read();
    read->set_threads(each.threads);
    read->set_gb_per_s(each.rate.median);
    read->set_spread(each.rate.spread);
  }
  reply.set_int8_gop_per_s(measurement.int8_gop_per_s.median);
  reply.set_int8_spread(measurement.int8_gop_per_s.spread);
  reply.set_int8_method(measurement.int8_method);
  reply.set_f32_gflop_per_s(measurement.f32_gflop_per_s.median);
  reply.set_f32_spread(measurement.f32_gflop_per_s.spread);
  reply.set_memory_bytes(measurement.memory_bytes);
  reply.set_available_bytes(measurement.available_bytes);
  reply.set_cores(measurement.cores);
  reply.set_threads(measurement.threads);
  reply.set_cpu(measurement.cpu);
  return reply;
}

Measurement fromWire(const wire::MeasureReply& reply) {
  Measurement measurement;
  for (const wire::ReadBandwidth& each : reply.read()) {
    measurement.read.push_back({each.threads(), {each.gb_per_s(), each.spread()}});
  }
  measurement.int8_gop_per_s = {reply.int8_gop_per_s(), reply.int8_spread()};
  measurement.int8_method = printable(reply.int8_method());
  measurement.f32_gflop_per_s = {reply.f32_gflop_per_s(), reply.f32_spread()};
  measurement.memory_bytes = reply.memory_bytes();
  measurement.available_bytes = reply.available_bytes();
  measurement.cores = reply.cores();
  measurement.threads = reply.threads();
  measurement.cpu = printable(reply.cpu());
  return measurement;
}

wire::MeasureLinkReply toWire(const LinkMeasurement& measurement) {
  wire::MeasureLinkReply reply;
  reply.set_transport(measurement.transport);
  reply.set_bandwidth_gbit_per_s(measurement.bandwidth_gbit_per_s.median);
  reply.set_bandwidth_spread(measurement.bandwidth_gbit_per_s.spread);
  reply.set_barrier_us(measurement.barrier_us.median);
  reply.set_barrier_spread(measurement.barrier_us.spread);
  for (const LinkMeasurement::Point& each : measurement.curve) {
    wire::CurvePoint* point = reply.add_curve();
    point->set_bytes(each.bytes);
    point->set_us(each.us.median);
    point->set_spread(each.us.spread);
  }
  return reply;
}

Result<LinkMeasurement> fromWire(const wire::MeasureLinkReply& reply) {
  if (reply.curve().empty()) return makeError(ErrorCode::kMismatch, "the node measured a link and told no curve");
  LinkMeasurement measurement;
  measurement.transport = printable(reply.transport());
  measurement.bandwidth_gbit_per_s = {reply.bandwidth_gbit_per_s(), reply.bandwidth_spread()};
  measurement.barrier_us = {reply.barrier_us(), reply.barrier_spread()};
  for (const wire::CurvePoint& each : reply.curve()) measurement.curve.push_back({each.bytes(), {each.us(), each.spread()}});
  measurement.latency_us = measurement.curve.front().us;
  return measurement;
}

wire::MeasureGroupReply toWire(const collectives::Calibration& calibration) {
  wire::MeasureGroupReply reply;
  reply.set_barrier_us(calibration.barrier_us);
  for (const collectives::Thresholds::Step& each : calibration.thresholds.steps) {
    wire::MeasureGroupReply::Step* step = reply.add_steps();
    step->set_algorithm(std::string(collectives::name(each.algorithm)));
    if (each.up_to_bytes != collectives::Thresholds::kNoLimit) step->set_up_to_bytes(each.up_to_bytes);
  }
  for (const collectives::Timing& each : calibration.timings) {
    wire::MeasureGroupReply::Timing* timing = reply.add_timings();
    timing->set_bytes(each.bytes);
    for (const collectives::Algorithm algorithm : collectives::kAlgorithms) {
      const auto a = static_cast<size_t>(algorithm);
      if (each.us[a] == 0) continue;
      wire::MeasureGroupReply::Time* time = timing->add_times();
      time->set_algorithm(std::string(collectives::name(algorithm)));
      time->set_us(each.us[a]);
      time->set_spread(each.spread[a]);
    }
  }
  return reply;
}

namespace {

Result<collectives::Algorithm> algorithmNamed(const std::string& text) {
  for (const collectives::Algorithm algorithm : collectives::kAlgorithms)
    if (text == collectives::name(algorithm)) return algorithm;
  return makeError(ErrorCode::kMismatch, "the node tells of an algorithm \"", printable(text.substr(0, 40)), "\", which is not known here");
}

}  // namespace

Result<collectives::Calibration> fromWire(const wire::MeasureGroupReply& reply) {
  collectives::Calibration calibration;
  calibration.barrier_us = reply.barrier_us();
  calibration.thresholds.steps.clear();
  for (const auto& each : reply.steps()) {
    EXO_ASSIGN(const collectives::Algorithm algorithm, algorithmNamed(each.algorithm()));
    calibration.thresholds.steps.push_back({algorithm, each.has_up_to_bytes() ? each.up_to_bytes() : collectives::Thresholds::kNoLimit});
  }
  if (const Status valid = validate(calibration.thresholds); !valid.ok()) return makeError(ErrorCode::kMismatch, "the node measured a group: ", valid.error().message());
  for (const auto& each : reply.timings()) {
    collectives::Timing& timing = calibration.timings.emplace_back(collectives::Timing{.bytes = each.bytes()});
    for (const auto& time : each.times()) {
      EXO_ASSIGN(const collectives::Algorithm algorithm, algorithmNamed(time.algorithm()));
      timing.us[static_cast<size_t>(algorithm)] = time.us();
      timing.spread[static_cast<size_t>(algorithm)] = time.spread();
    }
  }
  return calibration;
}

std::vector<ChannelArgument> livenessArguments(std::chrono::milliseconds peer_timeout) {
  // A ping after half the time without a sign of life, and the other half to answer it.
  const int half = static_cast<int>(std::max<int64_t>(100, peer_timeout.count() / 2));
  return {{GRPC_ARG_KEEPALIVE_TIME_MS, half},
          {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, half},
          {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
          // By default gRPC stops pinging when no data flows, and a server hangs up on clients that ping.
          {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
          {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10},
          {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0}};
}

grpc::ChannelArguments clientArguments(std::chrono::milliseconds peer_timeout) {
  grpc::ChannelArguments arguments;
  for (const ChannelArgument& each : livenessArguments(peer_timeout)) arguments.SetInt(each.name, each.value);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(peer_timeout.count()));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // One connection per channel: a broken stream must not be hidden by another channel's connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetSslTargetNameOverride(kTlsName);
  return arguments;
}

std::string shortHash(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes.substr(0, 6)) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text.empty() ? "none" : text;
}

}  // namespace exo::cluster
