// The links of one rank in one epoch. Two phases: every rank opens a Listener and publishes its endpoint; then each calls
// Mesh::connect with the endpoints of the peers it needs. Of a pair the higher rank dials, the lower one listens.
//
// Transport of a pair, unless one is demanded: shm when both have the same boot id and the peer's abstract Unix socket can be
// reached from here (containers may share a kernel and not a network namespace); else verbs when both have an active port
// and a first write arrives; else tcp. Connection::why() tells.
// Threads: one at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executor/transport/listener.h"
#include "executor/transport/session.h"
#include "executor/transport/transport.h"
#include "executor/transport/verbs/path.h"
#include "executor/transport/waiter.h"
#include "ir/base/result.h"

namespace exo::transport {

enum class Choice { kAuto, kShm, kVerbs, kTcp };
/// "auto", "shm", "verbs", "tcp"
Result<Choice> parseChoice(std::string_view text);

struct PeerOptions {
  int rank = 0;
  std::string name;              // of the node, for errors
  Endpoint endpoint;
  Choice choice = Choice::kAuto; // both ends must agree or say kAuto
};

struct MeshOptions {
  int rank = 0;
  int world = 1;
  uint64_t epoch = 0;
  SessionKey session_key = {};
  std::vector<PeerOptions> peers;  // those this rank talks to; each must list this rank too
  RingShape ring;
  verbs::DeviceChoice device;      // for verbs
  std::chrono::milliseconds connect_timeout{10'000};   // until all peers are linked
  std::chrono::milliseconds handshake_timeout{3'000};  // of one connection: strangers are dropped after it
  const std::atomic<bool>* cancel = nullptr;           // outlives the mesh; true stops any wait with kCancelled
};

class Mesh {
 public:
  /// Links this rank with all peers; the listener is closed afterwards. Errors: kInvalidInput for impossible options,
  /// kTimeout naming who is missing, kMismatch for a peer with another key, epoch, world or ring, kCancelled, kIo.
  static Result<std::unique_ptr<Mesh>> connect(Listener listener, const MeshOptions& options);

  /// Of links made otherwise (simulated). links[r] is null where there is none; its size is the world. All on hosts of their own.
  Mesh(int rank, std::vector<std::unique_ptr<Connection>> links, const std::atomic<bool>* cancel);

  int rank() const { return rank_; }
  int world() const { return static_cast<int>(links_.size()); }
  bool has(int rank) const { return rank >= 0 && rank < world() && links_[rank] != nullptr; }
  /// has(rank) must hold.
  Connection& peer(int rank) {
    EXO_CHECK(has(rank)) << "no link to rank " << rank;
    return *links_[rank];
  }
  const std::atomic<bool>* cancel() const { return cancel_; }

  /// Ranks of one host have one number. connect() takes it from the endpoints, which are the same on all ranks; a rank that
  /// is no peer counts as a host of its own.
  int hostOf(int rank) const { return hosts_[static_cast<size_t>(rank)]; }
  /// Before the first communicator, and alike on all ranks.
  void setHosts(std::vector<int> hosts) {
    EXO_CHECK(hosts.size() == links_.size());
    hosts_ = std::move(hosts);
  }
  SpinBudget& spinBudget() { return spin_budget_; }

  /// After a failed operation messages may be half sent: the first failure stays, and every later operation reports it.
  void fail(const Error& error) {
    if (!failure_) failure_ = error;
  }
  const std::optional<Error>& failure() const { return failure_; }

 private:
  int rank_;
  std::vector<std::unique_ptr<Connection>> links_;
  std::vector<int> hosts_;  // by rank
  const std::atomic<bool>* cancel_;
  std::optional<Error> failure_;
  SpinBudget spin_budget_;
};

}  // namespace exo::transport
