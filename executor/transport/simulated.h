// Links between ranks that are threads of one process, for tests: messages can be delayed, each by another time, so that those
// of different peers overtake each other; bandwidth can be limited; and ranks can die.
// Threads: each rank's mesh by one thread; setDelay(), setBandwidth() and kill() from any.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "executor/transport/mesh.h"
#include "executor/transport/transport.h"

namespace exo::transport {

class SimulatedNetwork {
 public:
  explicit SimulatedNetwork(int world, RingShape ring = {});
  ~SimulatedNetwork();

  /// The mesh of one rank, linked with all others; once per rank. The network outlives it. Names are "node0", "node1", ...
  std::unique_ptr<Mesh> mesh(int rank, const std::atomic<bool>* cancel = nullptr);

  /// Messages committed from now on arrive that much later, and up to `jitter` more: of each message another part of it, the
  /// same in every run. On one link they still arrive in order, as the transport promises.
  void setDelay(int from, int to, std::chrono::microseconds delay, std::chrono::microseconds jitter = {});
  /// Messages follow each other at this rate at most; 0: no limit.
  void setBandwidth(int from, int to, double bytes_per_s);
  /// From now on nothing the rank does is seen; its peers find its links closed, and its own calls fail.
  void kill(int rank);

 private:
  friend class SimulatedConnection;
  struct Channel;
  Channel& channel(int from, int to) { return *channels_[from * world_ + to]; }

  int world_;
  RingShape ring_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::unique_ptr<std::atomic<bool>[]> dead_;
};

}  // namespace exo::transport
