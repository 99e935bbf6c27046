// A node's whole life as a member of a cluster: listen, join, load, serve, end. What it loads and how it computes is the
// Worker's; why and when it ends is the StopSignal's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "executor/cluster/address.h"
#include "executor/cluster/generate_job.h"
#include "executor/cluster/generation.h"
#include "executor/cluster/membership.h"
#include "executor/cluster/node_info.h"
#include "executor/cluster/node_report.h"
#include "executor/cluster/security.h"
#include "executor/cluster/session.h"
#include "executor/cluster/stop_signal.h"
#include "ir/base/result.h"

namespace exo::cluster {

struct ServeCounts {
  uint32_t running = 0, waiting = 0;   // requests
  uint64_t tokens = 0;                 // given to clients since the start
};

/// The engine, as membership sees it. Called from the thread of runNode, in the order below, unless said otherwise. Everything that may take longer
/// than a second looks at the StopSignal's flag and returns kCancelled.
class Worker {
 public:
  using Progress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

  virtual ~Worker() = default;
  /// Opens the data plane's listener at `host` (a literal) and returns the endpoint others dial.
  virtual Result<std::string> openDataEndpoint(const std::string& host) = 0;
  /// Connects to the members and loads the model. `progress` may be called from any thread.
  virtual Status load(const Session& session, const Progress& progress) = 0;
  /// Bytes held after load().
  virtual uint64_t memoryBytes() const = 0;
  /// What the engine holds and its links carry, as far as it is loaded. From any thread, at any time.
  virtual EngineReport report() const = 0;
  /// Rank 0, after load(): carries out requests until the StopSignal. An error breaks the job and ends the node. Requests that
  /// still run then wait for finish().
  virtual Status serve() = 0;
  /// After serve(): every request that is left gets the error, and so does everyone who comes later.
  virtual void finish(const Error& error) = 0;
  /// Rank 0, from any thread, after load(): takes a request; what comes of it goes to the job, until its finish(). Several run
  /// together. An error refuses it (kDoesNotFit: too many wait already).
  virtual Result<uint64_t> submit(std::shared_ptr<GenerateJob> job) = 0;
  /// The client has gone. Nothing for a request that has ended.
  virtual void cancel(uint64_t request) = 0;
  virtual ServeCounts counts() const = 0;
  /// Other ranks: takes part in rank 0's steps until the end.
  virtual Status follow() = 0;
};

/// For the parent process and people. Called from several threads, one at a time is not guaranteed.
struct NodeEvents {
  std::function<void(const Address& address)> listening;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> loading;
  std::function<void(const NodeInfo& info, uint64_t memory_bytes)> ready;
  /// Rank 0: all nodes by rank, once a second from its start to its end, from a thread that does nothing else.
  std::function<void(const std::vector<MemberStatus>& members)> members;
};

struct NodeOptions {
  NodeInfo info;                                     // rank and world size from the plan
  Roster roster;
  Address listen;
  Address coordinator;                               // of rank 0's node; not used by itself
  std::chrono::milliseconds join_timeout{60'000};
  std::chrono::milliseconds peer_timeout{5000};
  std::chrono::milliseconds load_patience{600'000};  // without any progress
  NodeEvents events;
};

/// Returns when the node has ended: OK after an orderly stop, else the cause, which every other node has been told. `stop` is
/// always requested afterwards.
Status runNode(const NodeOptions& options, const Security& security, Worker& worker, StopSignal& stop);

struct MeasureOptions {
  std::string node;
  Address listen;
  std::chrono::milliseconds peer_timeout{5000};
  NodeEvents events;
};
/// No plan, no membership: answers measurements and status until `stop`.
Status runMeasureOnly(const MeasureOptions& options, const Security& security, StopSignal& stop);

}  // namespace exo::cluster
