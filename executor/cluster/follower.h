// A follower's side of membership: one stream to rank 0, kept open for the life of the process. What comes over it ends this
// process too: rank 0's abort (naming who was lost and why), its orderly stop, or the stream's own end.
// Threads: any.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "executor/cluster/address.h"
#include "executor/cluster/node_report.h"
#include "executor/cluster/security.h"
#include "executor/cluster/session.h"
#include "executor/cluster/stop_signal.h"
#include "ir/base/result.h"

namespace exo::cluster {

/// Who joins, and with what. Hashes are raw bytes.
struct JoinRequest {
  std::string node;
  uint32_t rank = 0;
  std::string plan_hash, program_hash;
  std::string weights;
  std::string data_endpoint;
};

struct JoinOptions {
  Address coordinator;                             // resolved
  std::string coordinator_name;                    // of its node, for errors
  std::chrono::milliseconds join_timeout{60'000};  // until rank 0 answers; once it has, its own limit holds
  std::chrono::milliseconds peer_timeout{5000};
};

class Follower {
 public:
  /// Joins and waits for the welcome; rank 0 may be started later than this node. Errors: kTimeout, kMismatch and
  /// kInvalidInput as rank 0 gave them (another plan, version, secret), those of `stop`. `stop` outlives the follower.
  static Result<std::unique_ptr<Follower>> join(const JoinRequest& request, const JoinOptions& options, const Security& security, StopSignal& stop);
  /// Tells rank 0 why this process ends, unless it was rank 0 who said so, and hangs up.
  ~Follower();

  /// Where rank 0 listened on all its addresses, its data endpoint is the address dialed.
  const Session& session() const;
  void loading(uint64_t done_bytes, uint64_t total_bytes);
  void ready(uint64_t memory_bytes);
  void report(const NodeReport& report);
  /// Until every node is ready, or the end: there is no other limit, rank 0 has one.
  Status awaitGo();
  /// A failure of this node: rank 0 hears it at once and has `grace` to name the cause that this node may only see the
  /// effects of (a peer's link breaks before the news comes who died).
  void failed(const Error& error, std::chrono::milliseconds grace);

 private:
  class Implementation;
  explicit Follower(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace exo::cluster
