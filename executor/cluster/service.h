// The control service of one process (control.proto) behind a listening address.
// Threads: gRPC's own; every call is answered in one of them.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "executor/cluster/address.h"
#include "executor/cluster/membership.h"
#include "executor/cluster/node_info.h"
#include "executor/cluster/security.h"
#include "executor/cluster/stop_signal.h"
#include "ir/base/result.h"

namespace exo::cluster {

class Worker;

/// What the service speaks for; all outlives it.
struct ServiceParts {
  NodeInfo info;
  const Security* security = nullptr;
  StopSignal* stop = nullptr;
  Membership* membership = nullptr;     // rank 0 only
  Worker* worker = nullptr;             // rank 0 only
  std::string coordinator;              // followers: where to send clients instead
  std::chrono::milliseconds peer_timeout{5000};
};

class ControlServer {
 public:
  /// `listen` is resolved; port 0 takes a free one. Errors: kInvalidInput for an address that security forbids, kIo when it
  /// cannot be bound.
  static Result<std::unique_ptr<ControlServer>> start(const Address& listen, const ServiceParts& parts);
  /// Calls still running are broken off.
  ~ControlServer();

  const Address& address() const { return address_; }
  void setState(NodeState state);

 private:
  class Implementation;
  ControlServer();
  Address address_;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace exo::cluster
