// Which algorithm of all_reduce is the quickest between several nodes (collectives/calibration.h), measured while none of them
// runs a model. A client opens a listener on every node, then tells all of them to meet.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <vector>

#include "executor/cluster/link_probe.h"
#include "executor/cluster/session.h"
#include "executor/collectives/calibration.h"
#include "executor/transport/listener.h"
#include "ir/base/result.h"

namespace exo::cluster {

/// What one node must know to take part.
struct GroupTicket {
  ProbeTicket link;
  uint32_t rank = 0, world = 0;
};

/// The listeners of a node that wait for their group to meet. Threads: any.
class GroupProbes {
 public:
  /// Opens a listener at `host` (a literal); returns its endpoint. After half a minute without measure() it may be closed.
  /// kDoesNotFit when several are open already.
  Result<std::string> open(const std::string& host, const GroupTicket& ticket);
  /// Meets the members, whose places agree with the tickets', and measures: on the first rank the result has the timings.
  /// kNotFound when nothing was opened for this epoch.
  Result<collectives::Calibration> measure(const Session& session, const std::atomic<bool>& cancel);

 private:
  struct Opened {
    GroupTicket ticket;
    transport::Listener listener;
    std::chrono::steady_clock::time_point at;
  };
  std::mutex mutex_;
  std::list<Opened> opened_;
};

}  // namespace exo::cluster
