// Our types to the control protocol's and back. Everything read from the wire is checked here.
#pragma once

#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>

#include <array>
#include <chrono>
#include <string>
#include <vector>

#include "executor/cluster/control.pb.h"
#include "executor/cluster/generation.h"
#include "executor/cluster/link_probe.h"
#include "executor/cluster/measure.h"
#include "executor/cluster/node_report.h"
#include "executor/collectives/calibration.h"
#include "ir/base/result.h"

namespace exo::cluster {

wire::Failure toWire(const Error& error);
/// Codes and scopes of another version become kIo and kJob.
Error fromWire(const wire::Failure& failure);

/// The error travels whole (code, scope, message) in the status' details.
grpc::Status toGrpc(const Error& error);
/// `peer`: "node a at 127.0.0.1:52416", for errors of the connection itself. The status is not OK.
Error fromGrpc(const grpc::Status& status, const std::string& peer);

wire::GenerateRequest toWire(const GenerateRequest& request);
/// kInvalidInput for an empty prompt, negative ids or limits.
Result<GenerateRequest> fromWire(const wire::GenerateRequest& request);

wire::Done toWire(const GenerateStats& stats);
GenerateStats fromWire(const wire::Done& done);

wire::Report toWire(const NodeReport& report);
/// Figures that are none become unknown; texts and lists are cut.
NodeReport fromWire(const wire::Report& report);

wire::MeasureReply toWire(const Measurement& measurement);
Measurement fromWire(const wire::MeasureReply& reply);

wire::MeasureLinkReply toWire(const LinkMeasurement& measurement);
/// kMismatch for one without a curve.
Result<LinkMeasurement> fromWire(const wire::MeasureLinkReply& reply);
wire::MeasureGroupReply toWire(const collectives::Calibration& calibration);
/// kMismatch for an algorithm that is not known here, or steps that are none.
Result<collectives::Calibration> fromWire(const wire::MeasureGroupReply& reply);

/// Liveness on both ends: a peer that answers nothing for `peer_timeout` is gone.
struct ChannelArgument {
  const char* name;
  int value;
};
std::vector<ChannelArgument> livenessArguments(std::chrono::milliseconds peer_timeout);
grpc::ChannelArguments clientArguments(std::chrono::milliseconds peer_timeout);

/// The first 12 hexadecimal digits: enough to compare by eye.
std::string shortHash(const std::string& bytes);

}  // namespace exo::cluster
