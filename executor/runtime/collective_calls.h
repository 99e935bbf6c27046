// The collectives of a program, bound to their buffers and communicators before the first step.
// Threads: one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/program.pb.h"
#include "executor/collectives/arrival.h"
#include "ir/base/result.h"

namespace exo::transport {
class Mesh;
}

namespace exo::runtime {

class CollectiveCalls {
 public:
  /// Both outlive this; `mesh` may be null for a program of one rank. Creates one communicator per distinct group.
  static Result<std::unique_ptr<CollectiveCalls>> create(const program::Program& program, transport::Mesh* mesh,
                                                         std::chrono::milliseconds timeout);
  ~CollectiveCalls();

  /// Binds a (checked) collective call to its operands; returns its index for run().
  Result<int> add(const program::Call& call, const codegen::KernelArgs& args);

  /// Runs it on `rows` rows. kTimeout or kPeerLost when a peer does not take part in time.
  Status run(int index, int64_t rows);

  /// Of collective `index`, when it ran last: until when it waited for which peer.
  std::vector<collectives::Arrival> arrivals(int index) const;
  /// Adds the seconds from `since` until each peer's message came, by rank.
  void addWaits(int index, std::chrono::steady_clock::time_point since, std::span<double> seconds) const;

 private:
  class Implementation;
  explicit CollectiveCalls(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace exo::runtime
