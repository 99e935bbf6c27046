#include "passes/schedule.h"

#include <algorithm>

namespace exo {

namespace {

bool isBound(const Node& node) { return definition(node.op).has(kSource) && !definition(node.op).has(kCollective); }

/// The first position behind the value's producer at which a region ends, and behind every earlier collective.
size_t earliest(const std::vector<Node>& nodes, size_t send) {
  const ValueId value = nodes[send].operands[0];
  size_t at = send;
  while (at > 0) {
    const Node& before = nodes[at - 1];
    const bool makes = std::find(before.results.begin(), before.results.end(), value) != before.results.end();
    if (makes || definition(before.op).has(kCollective) || isBound(before)) break;
    --at;
  }
  while (at < send && at > 0 && nodes[at].region == nodes[at - 1].region) ++at;
  return at;
}

}  // namespace

Graph schedule(const Graph& graph) {
  Graph result = graph;
  std::stable_partition(result.nodes.begin(), result.nodes.end(), isBound);
  auto& nodes = result.nodes;
  for (size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].op != Op::kSend) continue;
    const auto at = static_cast<std::ptrdiff_t>(earliest(nodes, n));
    std::rotate(nodes.begin() + at, nodes.begin() + static_cast<std::ptrdiff_t>(n), nodes.begin() + static_cast<std::ptrdiff_t>(n) + 1);
  }
  return renumber(result);
}

}  // namespace exo
