// The link between two nodes, measured the way tensors travel on it. One node answers a single measurement on a temporary
// listener; the other one connects and says what to do next: ping-pong of each size, barriers, a stream; three times over.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "executor/cluster/measure.h"
#include "ir/base/result.h"

namespace exo::cluster {

struct LinkMeasurement {
  std::string transport;             // "shm", "verbs", "tcp"
  Rate latency_us;                   // half a round trip of 64 B, the curve's first
  Rate bandwidth_gbit_per_s;         // of a stream one way
  Rate barrier_us;                   // of the two
  struct Point {
    uint64_t bytes = 0;
    Rate us;                         // half a round trip
  };
  std::vector<Point> curve;          // 64 B to 4 MiB, ascending
};

struct ProbeTicket {
  std::array<uint8_t, 32> key = {};
  uint64_t epoch = 0;
  std::string transport = "auto";    // auto, shm, verbs, tcp
};
/// With fresh randomness. kInvalidInput for an unknown transport.
Result<ProbeTicket> makeProbeTicket(const std::string& transport);

/// The answering ends of a node. Threads: any.
class LinkProbes {
 public:
  LinkProbes() = default;
  LinkProbes(const LinkProbes&) = delete;
  LinkProbes& operator=(const LinkProbes&) = delete;
  /// Cancels what runs and waits for it.
  ~LinkProbes();

  /// Opens a listener at `host` (a literal) for one measurement; returns its endpoint. Nobody there within seconds: closed.
  /// kDoesNotFit when several are open already.
  Result<std::string> open(const std::string& host, const ProbeTicket& ticket);

 private:
  struct Probe {
    std::thread thread;
    std::atomic<bool> done = false;
  };
  std::mutex mutex_;
  std::vector<std::unique_ptr<Probe>> probes_;
  std::atomic<bool> cancel_ = false;
};

/// Measures the link to an open probe: about a second, a few on a slow one. `host`: the literal at which the other node
/// was reached, `peer`: its name for errors.
Result<LinkMeasurement> measureLink(const std::string& endpoint, const std::string& host, const std::string& peer, const ProbeTicket& ticket,
                                    const std::atomic<bool>& cancel);

}  // namespace exo::cluster
