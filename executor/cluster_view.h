// From what membership knows of the nodes, and the engine of its requests, to what the cluster shows of itself.
// Threads: one at a time.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "executor/cluster/node_report.h"
#include "executor/serve/completion.h"
#include "executor/serve/state/cluster_state.h"

namespace exo {

class ClusterView {
 public:
  /// `names`: of the nodes by rank.
  explicit ClusterView(std::vector<std::string> names) : names_(std::move(names)) {}

  /// `time`: seconds of the Unix epoch; rates are of the time since the call before. `members`: by rank.
  serve::ClusterFacts facts(double time, const std::vector<cluster::MemberStatus>& members, const serve::CompletionEngine& engine);

 private:
  struct Sent {
    double time = 0;
    uint64_t bytes = 0;
  };
  std::vector<serve::NodeStatus> nodes(const std::vector<cluster::MemberStatus>& members) const;
  std::vector<serve::LinkStatus> links(double time, const std::vector<cluster::MemberStatus>& members);

  const std::vector<std::string> names_;
  std::map<std::pair<uint32_t, uint32_t>, Sent> sent_;   // by ranks, the lower first
};

}  // namespace exo
