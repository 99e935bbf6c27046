#include "executor/plan_node.h"

#include <vector>

#include "codegen/plan.h"
#include "frontend/config/suggest.h"

namespace exo {
namespace {

/// nodes[r] is the node of rank r.
Result<std::vector<const plan::Node*>> nodesByRank(const plan::Plan& plan) {
  std::vector<const plan::Node*> nodes(static_cast<size_t>(plan.programs_size()), nullptr);
  for (const plan::Node& node : plan.nodes()) {
    if (!node.has_rank()) continue;
    if (node.rank() >= nodes.size()) {
      return invalid("the plan gives node \"", node.name(), "\" rank ", node.rank(), " and has programs for ", nodes.size(), " ranks");
    }
    if (nodes[node.rank()] != nullptr) return invalid("the plan gives rank ", node.rank(), " to two nodes");
    nodes[node.rank()] = &node;
  }
  if (nodes.empty()) return invalid("the plan has no programs");
  for (size_t rank = 0; rank < nodes.size(); ++rank) {
    if (nodes[rank] == nullptr) return invalid("the plan has no node for rank ", rank);
  }
  return nodes;
}

Result<const plan::Node*> findNode(const plan::Plan& plan, const std::string& name) {
  std::vector<std::string> names;
  std::string list;
  for (const plan::Node& node : plan.nodes()) {
    if (node.name() == name) {
      if (node.has_rank()) return &node;
      return invalid("the plan leaves node \"", name, "\" out: the model runs better without it (report.txt in the plan tells why)");
    }
    names.push_back(node.name());
    list += (list.empty() ? "" : ", ") + node.name();
  }
  return invalid("--node: the plan has no node \"", name, "\"", didYouMean(name, names), "; it has: ", list);
}

Status checkProgram(const plan::Plan& plan, uint32_t rank) {
  const program::Program& program = plan.programs(static_cast<int>(rank));
  if (program.rank() == rank && program.world_size() == static_cast<uint32_t>(plan.programs_size())) return {};
  return invalid("the plan's program for rank ", rank, " of ", plan.programs_size(), " says rank ", program.rank(), " of ", program.world_size());
}

}  // namespace

Result<cluster::NodeOptions> nodeOfPlan(const plan::Plan& plan, const PlanNodeOptions& options) {
  EXO_ASSIGN(const std::vector<const plan::Node*> nodes, nodesByRank(plan));
  EXO_ASSIGN(const plan::Node* const self, findNode(plan, options.node));
  EXO_TRY(checkProgram(plan, self->rank()));
  cluster::NodeOptions result;
  result.info = {self->name(), self->rank(), static_cast<uint32_t>(nodes.size()), plan.model(), plan.content_hash()};
  result.roster.plan_hash = plan.content_hash();
  result.roster.weights = options.random_seed ? "random " + std::to_string(*options.random_seed) : "checkpoint";
  for (size_t rank = 0; rank < nodes.size(); ++rank) {
    result.roster.nodes.push_back({nodes[rank]->name(), programHash(plan.programs(static_cast<int>(rank)))});
  }
  EXO_ASSIGN(result.listen, cluster::parseAddress(options.listen.empty() ? self->address() : options.listen));
  EXO_ASSIGN(result.coordinator, cluster::parseAddress(options.coordinator.empty() ? nodes[0]->address() : options.coordinator));
  if (self->rank() != 0 && result.coordinator.port == 0) {
    return invalid("the plan does not say at which port node \"", nodes[0]->name(), "\" (rank 0) listens; give --coordinator host:port");
  }
  return result;
}

}  // namespace exo
