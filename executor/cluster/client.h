// The other side of the control service: what exoc run, exoc topo and tests ask nodes for.
// Threads: any; calls are independent.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "executor/cluster/address.h"
#include "executor/cluster/generation.h"
#include "executor/cluster/group_probe.h"
#include "executor/cluster/link_probe.h"
#include "executor/cluster/measure.h"
#include "executor/cluster/node_info.h"
#include "executor/cluster/security.h"
#include "ir/base/result.h"

namespace exo::cluster {

class ControlClient {
 public:
  struct Options {
    std::chrono::milliseconds connect_timeout{5000};  // until the node answers; one that refuses is asked again
    std::chrono::milliseconds peer_timeout{5000};     // later: silence longer than this is a lost node
  };

  /// Asks the node for its status. Errors at once: kInvalidInput (an address that needs a secret), kMismatch (another
  /// secret); kPeerLost or kTimeout after connect_timeout.
  static Result<std::unique_ptr<ControlClient>> connect(const Address& address, const Security& security, const Options& options);
  static Result<std::unique_ptr<ControlClient>> connect(const Address& address, const Security& security) {
    return connect(address, security, Options());
  }
  ~ControlClient();

  /// Feeds `sink` until the generation is done. The node's errors come with their code, scope and message; kPeerLost when the
  /// node itself is gone. An error of the sink, or `cancel` turning true (kCancelled), ends the generation there too.
  Result<GenerateStats> generate(const GenerateRequest& request, GenerateSink& sink, const std::atomic<bool>* cancel = nullptr);
  Result<NodeStatus> status();
  /// Takes about two seconds.
  Result<Measurement> measure(int threads = 0);
  /// The node measures its link to the node whose control service is at `peer`. transport: auto, shm, verbs, tcp.
  Result<LinkMeasurement> measureLink(const std::string& peer, const std::string& transport);
  Result<std::string> openProbe(const ProbeTicket& ticket);
  /// The node's place in a group that is to be measured: its data endpoint, at the address by which this client reaches it.
  Result<std::string> openGroup(const GroupTicket& ticket);
  /// Takes part in the measurement; returns when it is over (collectives/calibration.h). At once on all nodes of the group.
  Result<collectives::Calibration> measureGroup(const Session& session);
  /// Orderly, of the whole cluster the node belongs to. Returns when the node has taken note.
  Status shutdown(const std::string& reason);

 private:
  class Implementation;
  explicit ControlClient(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace exo::cluster
