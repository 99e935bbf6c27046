// What a node tells rank 0 of itself once a second, and what rank 0 knows of every node from it: for those who show a cluster.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "executor/cluster/node_info.h"
#include "executor/cluster/node_reading.h"

namespace exo::cluster {

/// Of the engine; empty until it is loaded.
struct EngineReport {
  struct Memory {
    uint64_t weights = 0, kv = 0, arena = 0, scratch = 0;   // bytes
  };
  struct Link {
    uint32_t to = 0;           // rank
    std::string transport;     // shm, verbs, tcp
    std::string why;           // this one; may be empty
    uint64_t sent_bytes = 0;   // from this node, since the link was made
  };
  std::optional<Memory> memory;
  std::vector<Link> links;
};

struct NodeReport {
  EngineReport engine;
  uint64_t resident_bytes = 0;   // of the process; 0: not known
  NodeReading machine;
};

/// A node of the plan as rank 0 knows it.
struct MemberStatus {
  NodeState state = NodeState::kJoining;
  std::optional<std::pair<uint64_t, uint64_t>> loading;   // done, total bytes; while it loads
  std::optional<NodeReport> report;                       // the newest one
};

}  // namespace exo::cluster
