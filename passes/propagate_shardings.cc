#include "passes/propagate_shardings.h"

#include <algorithm>

#include "ir/factors.h"

namespace exo {

namespace {

class Propagation {
 public:
  explicit Propagation(const Graph& graph) : graph_(graph), stage_(graph.values.size(), -1), uses_(graph.values.size()) {
    for (const Node& node : graph_.nodes) {
      for (ValueId id : node.operands) ++uses_[static_cast<size_t>(id)];
      if (definition(node.op).has(kEverywhere)) continue;
      const auto* transfer = std::get_if<TransferAttrs>(&node.attrs);
      for (ValueId id : node.results) stage_[static_cast<size_t>(id)] = transfer ? static_cast<int>(transfer->to) : graph_.stageOf(node);
    }
    for (ValueId id : graph_.outputs) ++uses_[static_cast<size_t>(id)];
  }

  Graph run() {
    while (pushSplits()) {
    }
    for (const Node& node : graph_.nodes) settle(node);
    return std::move(graph_);
  }

 private:
  /// What a node may assume of a value: its sharding when it is known and lives on the node's stage. Values from another
  /// stage arrive whole.
  std::optional<Sharding> known(ValueId id, int stage) const {
    if (stage_[static_cast<size_t>(id)] != stage) return Sharding{Replicated{}};
    return graph_.value(id).sharding;
  }

  bool pushSplits() {
    bool changed = false;
    for (const Node& node : graph_.nodes) {
      if (definition(node.op).has(kSource)) continue;
      const int stage = graph_.stageOf(node);
      const NodeSharding rule = shardingRule(graph_, node, [&](ValueId id) { return known(id, stage); });
      for (size_t i = 0; i < node.operands.size(); ++i) {
        if (stage_[static_cast<size_t>(node.operands[i])] == stage) changed |= adopt(node.operands[i], rule.operands[i]);
      }
      for (size_t i = 0; i < node.results.size(); ++i) changed |= adopt(node.results[i], rule.results[i]);
    }
    return changed;
  }
  bool adopt(ValueId id, const Sharding& sharding) {
    Value& value = graph_.value(id);
    if (value.sharding || !asSplit(sharding)) return false;
    value.sharding = sharding;
    return true;
  }

  /// A partial value that has other readers than one linear op is summed before use, so that reader sees it replicated.
  void settle(const Node& node) {
    const int stage = graph_.stageOf(node);
    const NodeSharding rule = shardingRule(graph_, node, [&](ValueId id) -> std::optional<Sharding> {
      auto sharding = known(id, stage);
      if (sharding && isPartial(*sharding) && uses_[static_cast<size_t>(id)] > 1) return Sharding{Replicated{}};
      return sharding;
    });
    for (size_t i = 0; i < node.results.size(); ++i) {
      Value& value = graph_.value(node.results[i]);
      if (!value.sharding) value.sharding = rule.results[i];
    }
  }

  Graph graph_;
  std::vector<int> stage_;  // of each value; -1: on every rank
  std::vector<int> uses_;
};

}  // namespace

Graph propagateShardings(const Graph& graph) { return Propagation(graph).run(); }

}  // namespace exo
