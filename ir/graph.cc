#include "ir/graph.h"

namespace exo {

namespace {

std::vector<Type> typesOf(const Graph& graph, const std::vector<ValueId>& ids) {
  std::vector<Type> types;
  for (ValueId id : ids) types.push_back(graph.value(id).type);
  return types;
}

}  // namespace

std::vector<Type> Graph::operandTypes(const Node& node) const { return typesOf(*this, node.operands); }
std::vector<Type> Graph::resultTypes(const Node& node) const { return typesOf(*this, node.results); }

std::vector<int> Graph::producers() const {
  std::vector<int> producer(values.size(), -1);
  for (size_t n = 0; n < nodes.size(); ++n) {
    for (ValueId id : nodes[n].results) producer[static_cast<size_t>(id)] = static_cast<int>(n);
  }
  return producer;
}

Cost Graph::cost(const Node& node, StepSize step) const {
  return definition(node.op).cost(node.attrs, operandTypes(node), resultTypes(node), step);
}

Graph renumber(const Graph& graph) {
  Graph result = graph;
  std::vector<ValueId> to(graph.values.size(), -1);
  result.values.clear();
  result.blocks.clear();
  std::vector<int> block_to(graph.blocks.size(), -1);
  for (Node& node : result.nodes) {
    int& block = block_to[static_cast<size_t>(node.block)];
    if (block < 0) {
      block = static_cast<int>(result.blocks.size());
      result.blocks.push_back(graph.blocks[static_cast<size_t>(node.block)]);
    }
    node.block = block;
    for (ValueId& id : node.operands) id = to[static_cast<size_t>(id)];
    for (ValueId& id : node.results) {
      result.values.push_back(graph.value(id));
      id = to[static_cast<size_t>(id)] = static_cast<ValueId>(result.values.size()) - 1;
    }
  }
  for (ValueId& id : result.outputs) id = to[static_cast<size_t>(id)];
  return result;
}

void Builder::block(const std::string& name, int stage) {
  for (size_t i = 0; i < graph_.blocks.size(); ++i) {
    if (graph_.blocks[i].name == name) {
      block_ = static_cast<int>(i);
      return;
    }
  }
  block_ = static_cast<int>(graph_.blocks.size());
  graph_.blocks.push_back({name, stage});
}

std::string Builder::uniqueName(const std::string& wanted) const {
  if (!names_.contains(wanted)) return wanted;
  for (int i = 1;; ++i) {
    const std::string name = wanted + "." + std::to_string(i);
    if (!names_.contains(name)) return name;
  }
}

ValueId Builder::add(Op op, const std::string& result, std::vector<ValueId> operands, Attrs attrs) {
  return addMulti(op, {result}, std::move(operands), std::move(attrs))[0];
}

std::vector<ValueId> Builder::addMulti(Op op, const std::vector<std::string>& results, std::vector<ValueId> operands, Attrs attrs) {
  Node node{op, std::move(attrs), std::move(operands), {}, block_, region_};
  auto types = definition(op).infer(node.attrs, graph_.operandTypes(node), {});
  EXO_CHECK(types.ok()) << types.error();
  EXO_CHECK(types->size() == results.size()) << definition(op).mnemonic;
  return append(std::move(node), results, *types);
}

ValueId Builder::source(Op op, const std::string& result, Type type, Attrs attrs) {
  Node node{op, std::move(attrs), {}, {}, block_, region_};
  auto types = definition(op).infer(node.attrs, {}, std::span(&type, 1));
  EXO_CHECK(types.ok()) << types.error();
  return append(std::move(node), {result}, {type})[0];
}

std::vector<ValueId> Builder::append(Node node, const std::vector<std::string>& results, const std::vector<Type>& types) {
  if (graph_.blocks.empty()) block("main");
  for (size_t i = 0; i < results.size(); ++i) {
    node.results.push_back(static_cast<ValueId>(graph_.values.size()));
    graph_.values.push_back({uniqueName(results[i]), types[i], std::nullopt, std::nullopt, definition(node.op).has(kGlobal)});
    names_.insert(graph_.values.back().name);
  }
  std::vector<ValueId> ids = node.results;
  graph_.nodes.push_back(std::move(node));
  return ids;
}

}  // namespace exo
