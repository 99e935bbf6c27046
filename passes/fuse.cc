#include "passes/fuse.h"

#include <algorithm>
#include <map>

namespace exo {

namespace {

/// First dimensions: nodes of different row counts are divided over threads differently.
std::vector<Dim> rowDims(const Graph& graph, const Node& node) {
  const Type& type = graph.value(node.op == Op::kKvAppend ? node.operands[1] : node.results[0]).type;
  return type.rank() == 3 ? std::vector<Dim>{type.shape[0], type.shape[1]} : std::vector<Dim>{type.shape[0]};
}

bool rowWise(const Node& node) { return definition(node.op).has(kElementwise) || node.op == Op::kKvAppend; }

class Regions {
 public:
  explicit Regions(const Graph& graph) : graph_(graph), made_in_(graph.values.size(), -1) {}

  Graph run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      Node& node = graph_.nodes[n];
      if (definition(node.op).has(kSource) && !definition(node.op).has(kCollective)) continue;
      if (members_.empty() || !joins(node)) start(node);
      members_.push_back(n);
      node.region = name_;
      for (ValueId id : node.results) made_in_[static_cast<size_t>(id)] = static_cast<int>(n);
    }
    return std::move(graph_);
  }

 private:
  void start(const Node& node) {
    members_.clear();
    block_ = node.block;
    name_ = graph_.blocks[static_cast<size_t>(node.block)].name + "." + std::to_string(next_[node.block]++);
  }
  /// Communication is a region of its own; otherwise all operands made in this region must be of the same rows.
  bool joins(const Node& node) const {
    const Node& last = graph_.nodes[members_.back()];
    if (definition(node.op).has(kCollective) || definition(last.op).has(kCollective) || node.block != block_) return false;
    return std::all_of(node.operands.begin(), node.operands.end(), [&](ValueId id) {
      const int maker = made_in_[static_cast<size_t>(id)];
      if (maker < static_cast<int>(members_.front())) return true;
      const Node& made = graph_.nodes[static_cast<size_t>(maker)];
      return rowWise(made) && rowWise(node) && rowDims(graph_, made) == rowDims(graph_, node);
    });
  }

  Graph graph_;
  std::vector<int> made_in_;      // node that made a value, -1: a source
  std::vector<size_t> members_;   // nodes of the current region
  std::string name_;
  int block_ = -1;
  std::map<int, int> next_;       // number of each block's next region
};

}  // namespace

Graph fuse(const Graph& graph) { return Regions(graph).run(); }

}  // namespace exo
