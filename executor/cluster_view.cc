#include "executor/cluster_view.h"

#include <algorithm>

namespace exo {
namespace {

serve::NodeStatus statusOf(const std::string& name, const cluster::MemberStatus& member) {
  serve::NodeStatus status{.name = name, .state = cluster::name(member.state), .loading = member.loading};
  if (!member.report || member.state == cluster::NodeState::kLost) return status;   // what a lost node held is not held any more
  if (const auto& held = member.report->engine.memory) status.memory = serve::NodeMemory{held->weights, held->kv, held->arena, held->scratch};
  status.resident_bytes = member.report->resident_bytes;
  status.reading = member.report->machine;
  return status;
}

}  // namespace

std::vector<serve::NodeStatus> ClusterView::nodes(const std::vector<cluster::MemberStatus>& members) const {
  std::vector<serve::NodeStatus> nodes;
  for (size_t rank = 0; rank < members.size(); ++rank) nodes.push_back(statusOf(names_[rank], members[rank]));
  return nodes;
}

/// Either end tells of its own sending: a link's traffic is the sum. Reports of two nodes are up to a second apart, which evens out.
std::vector<serve::LinkStatus> ClusterView::links(double time, const std::vector<cluster::MemberStatus>& members) {
  std::map<std::pair<uint32_t, uint32_t>, serve::LinkStatus> links;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> bytes;
  for (uint32_t rank = 0; rank < members.size(); ++rank) {
    if (!members[rank].report || members[rank].state == cluster::NodeState::kLost) continue;
    for (const cluster::EngineReport::Link& link : members[rank].report->engine.links) {
      if (link.to >= members.size() || link.to == rank) continue;   // another node's word
      const auto ends = std::minmax(rank, link.to);
      links.try_emplace(ends, serve::LinkStatus{names_[ends.first], names_[ends.second], link.transport, link.why, {}});
      bytes[ends] += link.sent_bytes;
    }
  }
  std::vector<serve::LinkStatus> statuses;
  for (auto& [ends, status] : links) {
    const auto before = sent_.find(ends);
    if (before != sent_.end() && time > before->second.time && bytes[ends] >= before->second.bytes)
      status.sent_bytes_per_s = static_cast<double>(bytes[ends] - before->second.bytes) / (time - before->second.time);
    sent_[ends] = {time, bytes[ends]};
    statuses.push_back(std::move(status));
  }
  return statuses;
}

serve::ClusterFacts ClusterView::facts(double time, const std::vector<cluster::MemberStatus>& members, const serve::CompletionEngine& engine) {
  EXO_CHECK(members.size() == names_.size());
  return {.time = time, .engine = engine.state(), .metrics = engine.metrics(), .requests = engine.requests(), .nodes = nodes(members), .links = links(time, members)};
}

}  // namespace exo
