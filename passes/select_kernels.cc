#include "passes/select_kernels.h"

#include <map>
#include <set>

namespace exo {

namespace {

bool wantsInt8(const Graph& graph, const Node& node) {
  if (node.op != Op::kMatMul && node.op != Op::kExpertMatMul && node.op != Op::kHeadMatMul) return false;
  return isBlocked(graph.value(node.operands[1]).type.encoding) && graph.value(node.operands[0]).type.encoding == Encoding::kF32;
}

class Selector {
 public:
  explicit Selector(const Graph& graph) : graph_(graph), source_(graph) {
    graph_.nodes.clear();
    for (const Value& value : graph.values) names_.insert(value.name);
  }

  Graph run() {
    std::set<ValueId> wanted;
    for (const Node& node : source_.nodes) {
      if (wantsInt8(source_, node)) wanted.insert(node.operands[0]);
    }
    for (const Node& node : source_.nodes) {
      graph_.nodes.push_back(node);
      if (wantsInt8(source_, node)) graph_.nodes.back().operands[0] = quantized_.at(node.operands[0]);
      for (ValueId id : node.results) {
        if (wanted.contains(id)) quantize(node, id);
      }
    }
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
    graph_.nodes.push_back(Node{Op::kQuantize, NoAttrs{}, {id}, {result}, maker.block, {}});
  }

  Graph graph_;
  const Graph& source_;
  std::map<ValueId, ValueId> quantized_;
  std::set<std::string> names_;
};

}  // namespace

Graph selectKernels(const Graph& graph) { return Selector(graph).run(); }

}  // namespace exo
