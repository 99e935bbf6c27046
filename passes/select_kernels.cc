#include "passes/select_kernels.h"

#include <map>
#include <set>

namespace exo {

namespace {

bool wantsInt8(const Graph& graph, const Node& node) {
  if (node.op != Op::kMatMul && node.op != Op::kExpertMatMul) return false;
  return isBlocked(graph.value(node.operands[1]).type.encoding) && graph.value(node.operands[0]).type.encoding == Encoding::kF32;
}

bool rowWise(const Node& node) { return definition(node.op).has(kElementwise); }

class Selector {
 public:
  explicit Selector(const Graph& graph) : graph_(graph), source_(graph) {
    graph_.nodes.clear();
    for (const Value& value : graph.values) names_.insert(value.name);
  }

  Graph run() {
    std::map<ValueId, bool> wanted;
    for (const Node& node : source_.nodes) {
      if (wantsInt8(source_, node)) wanted[node.operands[0]] = true;
    }
    for (const Node& node : source_.nodes) {
      if (!behind_.empty() && node.region != behind_region_) flush();
      Node copy = node;
      if (wantsInt8(source_, node)) copy.operands[0] = quantized_.at(node.operands[0]);
      graph_.nodes.push_back(copy);
      for (ValueId id : node.results) {
        if (wanted.contains(id)) quantize(node, id);
      }
    }
    flush();
    return renumber(graph_);
  }

 private:
  void quantize(const Node& maker, ValueId id) {
    Value value = source_.value(id);
    value.type.encoding = Encoding::kX8;
    value.global = false;
    value.name += ".q";
    while (!names_.insert(value.name).second) value.name += ".q";
    graph_.values.push_back(value);
    const ValueId result = quantized_[id] = static_cast<ValueId>(graph_.values.size()) - 1;
    Node node{Op::kQuantize, NoAttrs{}, {id}, {result}, maker.block, maker.region};
    if (rowWise(maker) || maker.region.empty()) {
      graph_.nodes.push_back(node);
      return;
    }
    node.region += ".q";
    behind_region_ = maker.region;
    behind_.push_back(node);
  }
  void flush() {
    graph_.nodes.insert(graph_.nodes.end(), behind_.begin(), behind_.end());
    behind_.clear();
  }

  Graph graph_;
  const Graph& source_;
  std::map<ValueId, ValueId> quantized_;
  std::set<std::string> names_;
  std::vector<Node> behind_;   // wait for the end of the region that made their operands
  std::string behind_region_;
};

}  // namespace

Graph selectKernels(const Graph& graph) { return Selector(graph).run(); }

}  // namespace exo
