// Rank 0's view of the cluster: who must be there, who is, and the one membership epoch they form. All or nothing: work
// begins when every node of the plan has joined and loaded, and ends everywhere when one of them is lost.
//
//   enter() × (n-1) ──► gather() welcomes all ──► ready from all ──► go()  ──► left() or failed: everyone ends
//
// Knows no gRPC: a MemberLink is whatever carries messages to one member.
// Threads: any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "executor/cluster/control.pb.h"
#include "executor/cluster/node_report.h"
#include "executor/cluster/session.h"
#include "executor/cluster/stop_signal.h"
#include "ir/base/result.h"

namespace exo::cluster {

/// What all nodes must agree on, from the plan. nodes[r] is rank r; rank 0 is this process.
struct Roster {
  struct Node {
    std::string name;
    std::string program_hash;  // raw bytes
  };
  std::string plan_hash;       // raw bytes
  std::string weights;         // "checkpoint", "random 42"
  std::vector<Node> nodes;
};

class MemberLink {
 public:
  virtual ~MemberLink() = default;
  /// Best effort: a link that is broken reports itself through Membership::left.
  virtual void send(const wire::ToMember& message) = 0;
};

class Membership {
 public:
  /// Whatever ends `stop` is told to all members. Both arguments outlive this.
  Membership(const Roster& roster, StopSignal& stop);

  /// A node asks to join; `host` is the literal it calls from. Errors, for that node alone: kMismatch (version, plan,
  /// program or weights differ: both values named), kInvalidInput (unknown or taken place), kCancelled.
  Status enter(const wire::Hello& hello, const std::string& host, std::shared_ptr<MemberLink> link);
  /// A later message of a member that entered through `link`.
  void received(uint32_t rank, const wire::FromMember& message);
  /// The member's connection ended. Before the epoch has begun its place becomes free again; afterwards all is over.
  void left(uint32_t rank, const std::string& cause);

  /// How far rank 0 itself is in loading.
  void loading(uint64_t done_bytes, uint64_t total_bytes);

  /// Of every node by rank; rank 0's own has no report.
  std::vector<MemberStatus> statuses() const;
  /// Names of the nodes that are here, this one first.
  std::vector<std::string> present() const;

  /// Waits until every node has entered, then welcomes them. Error kTimeout naming the missing ones.
  Result<Session> gather(const std::string& own_endpoint, std::chrono::milliseconds timeout);
  /// Waits until every member is ready. `patience` is how long nobody may make progress.
  Status awaitReady(std::chrono::milliseconds patience);
  void go();
  /// Waits until the members have gone, at most `timeout`: they have been told the end by then.
  void drain(std::chrono::milliseconds timeout);

 private:
  struct Place {
    std::shared_ptr<MemberLink> link;  // null: not here
    std::string endpoint;
    bool ready = false;
    std::optional<std::pair<uint64_t, uint64_t>> loading;  // done, total bytes
    std::optional<NodeReport> report;
  };
  NodeState stateOf(uint32_t rank) const;
  std::string missing() const;
  std::vector<std::shared_ptr<MemberLink>> links() const;
  void broadcast(const wire::ToMember& message) const;
  void announceEnd();
  std::string describe(uint32_t rank) const;

  const Roster& roster_;
  StopSignal& stop_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Place> places_;       // by rank; rank 0 has no link and gives no report
  bool epoch_begun_ = false;
  bool serving_ = false;
  uint64_t progress_ = 0;           // messages of loading members
  StopSignal::Subscription end_;    // last: it may call back at once
};

}  // namespace exo::cluster
