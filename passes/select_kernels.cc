#include "passes/select_kernels.h"

#include <map>

namespace exo {

namespace {

bool wantsInt8(const Graph& graph, const Node& node) {
  if (node.op != Op::kMatMul && node.op != Op::kExpertMatMul) return false;
  return isBlocked(graph.value(node.operands[1]).type.encoding) && graph.value(node.operands[0]).type.encoding == Encoding::kF32;
}

bool rowWise(const Node& node) { return definition(node.op).has(kElementwise); }

class Selector {
 public:
  explicit Selector(const Graph& graph) : graph_(graph), source_(graph) { graph_.nodes.clear(); }

  Graph run() {
    std::map<ValueId, bool> wanted;
    for (const Node& node : source_.nodes) {
      if (wantsInt8(source_, node)) wanted[node.operands[0]] = true;
    }
    for (const Node& node : source_.nodes) {
      Node copy = node;
      if (wantsInt8(source_, node)) copy.operands[0] = quantized_.at(node.operands[0]);
      graph_.nodes.push_back(copy);
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
    value.name += ".q";
    graph_.values.push_back(value);
    const ValueId result = quantized_[id] = static_cast<ValueId>(graph_.values.size()) - 1;
    const std::string region = rowWise(maker) ? maker.region : maker.region + ".q";
    graph_.nodes.push_back({Op::kQuantize, NoAttrs{}, {id}, {result}, maker.block, region});
  }

  Graph graph_;
  const Graph& source_;
  std::map<ValueId, ValueId> quantized_;
};

}  // namespace

Graph selectKernels(const Graph& graph) { return Selector(graph).run(); }

}  // namespace exo
