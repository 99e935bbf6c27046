// What a node says about itself to whoever asks its control service.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace exo::cluster {

enum class NodeState { kStarting, kJoining, kLoading, kServing, kStopping, kMeasuring, kLost };
const char* name(NodeState state);

struct NodeInfo {
  std::string node;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  std::string model;
  std::string plan_hash;    // raw bytes; empty without a plan
};

/// The answer to GetStatus.
struct NodeStatus {
  NodeInfo info;
  std::string version;
  std::string state;
  uint64_t memory_bytes = 0;    // resident
  uint64_t tokens_served = 0;
  uint32_t requests_running = 0, requests_waiting = 0;
  std::vector<std::string> members_here;  // rank 0: nodes that have joined, itself first
};

}  // namespace exo::cluster
