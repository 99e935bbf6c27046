// What the dashboard and `exo top` see of a running cluster: the bodies of GET /v1/cluster/state, /v1/cluster/events and
// /v1/cluster/series. Pure: facts go in, JSON comes out; who serves it publishes once a second and writes what it is given.
// The JSON is described in cluster_state.schema.json.
// Threads: any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "codegen/plan.pb.h"
#include "executor/cluster/node_reading.h"
#include "executor/serve/completion.h"
#include "executor/serve/state/board.h"
#include "executor/serve/state/series.h"
#include "ir/base/result.h"

namespace exo::serve {

/// Bytes that a node's engine holds (runtime::EngineMemory).
struct NodeMemory {
  uint64_t weights = 0, kv = 0, arena = 0, scratch = 0;
};

/// A node of the plan as it is now; what is not known of it is left out.
struct NodeStatus {
  std::string name;                     // as the plan has it
  std::string state;                    // joining, loading, serving, stopping, lost
  std::optional<std::pair<uint64_t, uint64_t>> loading;  // done, total bytes
  std::optional<NodeMemory> memory;
  uint64_t resident_bytes = 0;          // of the process; 0: not known
  std::optional<cluster::NodeReading> reading;
};

/// A link in use.
struct LinkStatus {
  std::string from, to;                 // node names
  std::string transport;                // shm, verbs, tcp
  std::string why;                      // this one; may be empty
  std::optional<double> sent_bytes_per_s;   // both directions together
};

/// All that changes, as one publication.
struct ClusterFacts {
  double time = 0;                      // seconds of the Unix epoch
  EngineState engine = EngineState::kLoading;
  std::string error;                    // why it failed; else empty
  Metrics metrics;
  std::vector<RequestStatus> requests;
  std::vector<NodeStatus> nodes;        // of the plan's ranks
  std::vector<LinkStatus> links;
};

/// One server-sent event, ready but for the line breaks.
struct StateEvent {
  std::string id;                       // for Last-Event-ID
  std::string data;                     // one line of JSON
};

/// report.json of a plan's directory. Null where there is none: a plan may have lost it. Error kInvalidInput for a damaged one.
Result<nlohmann::json> readReport(const std::filesystem::path& plan_directory);

class ClusterState {
 public:
  /// `report`: readReport's. `model`: the engine's (model()). `instance` tells this server's life from others: event
  /// numbers begin anew in each.
  ClusterState(const plan::Plan& plan, const nlohmann::json& report, const ModelInfo& model, std::string instance, double started);

  /// Once a second.
  void publish(const ClusterFacts& facts);

  /// Body of GET /v1/cluster/state: everything.
  std::string snapshot() const;

  /// The next event of GET /v1/cluster/events for a client that has `last_event_id` (of the event it got last, or the header;
  /// empty: none): what changed since, everything if the id is not of this instance. Nothing: there is nothing new.
  std::optional<StateEvent> next(const std::string& last_event_id) const;

  /// Body of GET /v1/cluster/series: rows later than `since`, seconds of the Unix epoch.
  std::string series(double since) const;

 private:
  uint64_t numberOf(const std::string& event_id) const;
  StateEvent event(uint64_t since) const;

  const std::string instance_;
  const double started_;
  mutable std::mutex mutex_;
  Board board_;
  Series series_;
};

}  // namespace exo::serve
