#include "ir/verify.h"

#include <algorithm>
#include <set>

#include "ir/factors.h"
#include "ir/text.h"

namespace exo {

namespace {

Error at(const Graph& graph, const Node& node, const Error& error) {
  return Error(error).note("in @" + graph.name + ": " + print(graph, node));
}

Status verifyTypes(const Graph& graph, const Node& node) {
  const std::vector<Type> declared = graph.resultTypes(node);
  EXO_ASSIGN(std::vector<Type> inferred, definition(node.op).infer(node.attrs, graph.operandTypes(node), declared));
  if (inferred != declared) return invalid(definition(node.op).mnemonic, ": results have not the types that its operands imply");
  return {};
}

/// Every operand is defined before its use, every value by exactly one node.
Status verifyOrder(const Graph& graph) {
  std::vector<bool> defined(graph.values.size());
  for (const Node& node : graph.nodes) {
    for (ValueId id : node.operands) {
      if (id < 0 || static_cast<size_t>(id) >= defined.size() || !defined[static_cast<size_t>(id)]) return invalid("an operand is used before it is defined").note("in " + print(graph, node));
    }
    for (ValueId id : node.results) {
      if (defined[static_cast<size_t>(id)]) return invalid("value ", graph.value(id).name, " is defined twice");
      defined[static_cast<size_t>(id)] = true;
    }
  }
  for (ValueId id : graph.outputs) {
    if (id < 0 || static_cast<size_t>(id) >= defined.size() || !defined[static_cast<size_t>(id)]) return invalid("an output of @", graph.name, " is not defined");
  }
  return {};
}

Status verifySplit(const Split& split, const Type& type, int stage_size) {
  if (split.dim < 0 || split.dim >= static_cast<int>(type.rank())) return invalid("sharding splits dimension ", split.dim, " of ", toString(type));
  const Dim dim = type.shape[static_cast<size_t>(split.dim)];
  if (dim.isSymbol()) return invalid("sharding splits the symbolic dimension ", split.dim, " of ", toString(type));
  if (static_cast<int>(split.ranges.size()) != stage_size) return invalid("sharding has ", split.ranges.size(), " ranges, the stage ", stage_size, " ranks");
  std::vector<Range> ordered = split.ranges;
  std::sort(ordered.begin(), ordered.end(), [](Range a, Range b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  int64_t covered = 0;
  for (const Range& range : ordered) {
    if (range.end < range.begin || (range.size() > 0 && range.begin > covered)) return invalid("sharding leaves elements from ", covered, " of dimension ", split.dim, " to no rank");
    covered = std::max(covered, range.end);
  }
  if (covered != dim.size()) return invalid("sharding covers ", covered, " of the ", dim.size(), " elements of dimension ", split.dim);
  return {};
}

Status verifySharded(const Graph& graph, const Node& node) {
  const int stage_size = graph.mesh.stage_sizes[static_cast<size_t>(graph.stageOf(node))];
  for (ValueId id : node.results) {
    const Value& value = graph.value(id);
    if (!value.sharding) return invalid("value %", value.name, " has no sharding");
    if (const Split* split = asSplit(*value.sharding)) EXO_TRY(verifySplit(*split, value.type, stage_size));
  }
  return verifyRule(graph, node);
}

Status verifyPartitioned(const Graph& graph, const Node& node) {
  if (!graph.rank) return invalid("a local graph must say its rank");
  if (node.op == Op::kTransfer) return invalid("transfer must be gone after partition");
  for (ValueId id : node.results) {
    if (graph.value(id).sharding) return invalid("value %", graph.value(id).name, " still has a sharding");
  }
  return {};
}

}  // namespace

Status verify(const Graph& graph, Stage stage) {
  EXO_TRY(verifyOrder(graph));
  for (const Node& node : graph.nodes) {
    if (auto s = verifyTypes(graph, node); !s.ok()) return at(graph, node, s.error());
    if (stage == Stage::kSharded) {
      if (auto s = verifySharded(graph, node); !s.ok()) return at(graph, node, s.error());
    }
    if (stage == Stage::kPartitioned) {
      if (auto s = verifyPartitioned(graph, node); !s.ok()) return at(graph, node, s.error());
    }
  }
  return {};
}

Status verify(const Module& module, Stage stage) {
  for (const Graph& graph : module.graphs) EXO_TRY(verify(graph, stage));
  return {};
}

}  // namespace exo
