#include "passes/canonicalize.h"

#include <algorithm>

namespace exo {

namespace {

/// Types and shardings of results.
bool sameResults(const Graph& graph, const Node& a, const Node& b) {
  return std::equal(a.results.begin(), a.results.end(), b.results.begin(), b.results.end(), [&](ValueId x, ValueId y) {
    return graph.value(x).type == graph.value(y).type && graph.value(x).sharding == graph.value(y).sharding;
  });
}

bool mergeable(const Node& node) {
  const OpDef& def = definition(node.op);
  return !def.has(kState) && !def.has(kCollective);
}

/// The value that stands for each value after equal nodes have been merged.
void mergeEqualNodes(Graph& graph) {
  std::vector<ValueId> stands(graph.values.size());
  for (size_t i = 0; i < stands.size(); ++i) stands[i] = static_cast<ValueId>(i);
  std::vector<Node> kept;
  for (Node& node : graph.nodes) {
    for (ValueId& id : node.operands) id = stands[static_cast<size_t>(id)];
    const auto equal = std::find_if(kept.begin(), kept.end(), [&](const Node& other) {
      return mergeable(node) && other.op == node.op && other.operands == node.operands && other.attrs == node.attrs && sameResults(graph, other, node);
    });
    if (equal == kept.end()) {
      kept.push_back(std::move(node));
      continue;
    }
    for (size_t i = 0; i < node.results.size(); ++i) stands[static_cast<size_t>(node.results[i])] = equal->results[i];
  }
  for (ValueId& id : graph.outputs) id = stands[static_cast<size_t>(id)];
  graph.nodes = std::move(kept);
}

void dropUnusedNodes(Graph& graph) {
  std::vector<bool> used(graph.values.size());
  for (ValueId id : graph.outputs) used[static_cast<size_t>(id)] = true;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool needed = node->op == Op::kKvAppend || definition(node->op).has(kCollective) ||
                        std::any_of(node->results.begin(), node->results.end(), [&](ValueId id) { return used[static_cast<size_t>(id)]; });
    if (!needed) node->results.clear();
    else for (ValueId id : node->operands) used[static_cast<size_t>(id)] = true;
  }
  std::erase_if(graph.nodes, [](const Node& node) { return node.results.empty() && node.op != Op::kSend; });
}

}  // namespace

Graph canonicalize(const Graph& graph) {
  Graph result = graph;
  mergeEqualNodes(result);
  dropUnusedNodes(result);
  return renumber(result);
}

}  // namespace exo
