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
  if (inferred.size() != declared.size()) return invalid(definition(node.op).mnemonic, ": must have ", inferred.size(), " results, has ", declared.size());
  for (size_t i = 0; i < inferred.size(); ++i) {
    if (inferred[i] != declared[i]) return invalid(definition(node.op).mnemonic, ": result ", i, " must be ", toString(inferred[i]), ", got ", toString(declared[i]));
  }
  return {};
}

/// What types cannot say: a cache is filled and read in its own block, and collectives fit the mesh.
class Structure {
 public:
  explicit Structure(const Graph& graph) : graph_(graph), producer_(graph.producers()) {}

  Status verifyNode(const Node& node) const {
    switch (node.op) {
      case Op::kKvAppend: return madeHere(node, node.operands[0], Op::kCache);
      case Op::kAttention: return madeHere(node, node.operands[1], Op::kKvAppend);
      case Op::kTransfer: return transfer(node);
      case Op::kAllGather: return gather(node, std::get<GatherAttrs>(node.attrs).extents);
      case Op::kSend:
        for (int64_t peer : std::get<SendAttrs>(node.attrs).to) EXO_TRY(peerRank(node, peer));
        return {};
      case Op::kRecv: return peerRank(node, std::get<RecvAttrs>(node.attrs).from);
      default: return {};
    }
  }
  Status verifyOutput(ValueId id) const {
    const Node& node = graph_.nodes[static_cast<size_t>(producer_[static_cast<size_t>(id)])];
    if (graph_.isGlobal(id) || node.op == Op::kKvAppend) return invalid("output ", graph_.value(id).name, " of @", graph_.name, " must be a value of the step, is what ", definition(node.op).mnemonic, " makes");
    return {};
  }

 private:
  Status madeHere(const Node& node, ValueId id, Op wanted) const {
    const Node& made = graph_.nodes[static_cast<size_t>(producer_[static_cast<size_t>(id)])];
    if (made.op == wanted && made.block == node.block) return {};
    return invalid(definition(node.op).mnemonic, ": operand ", graph_.value(id).name, " must be made by ", definition(wanted).mnemonic, " in the same block, is made by ",
                   definition(made.op).mnemonic, " in block ", graph_.blocks[static_cast<size_t>(made.block)].name);
  }
  Status transfer(const Node& node) const {
    const auto& a = std::get<TransferAttrs>(node.attrs);
    if (graph_.rank) return invalid("transfer must be gone in local graphs");
    if (a.from != graph_.stageOf(node)) return invalid("transfer: from must be the stage of its block, ", graph_.stageOf(node), ", got ", a.from);
    if (a.to < 0 || a.to >= graph_.mesh.numStages()) return invalid("transfer: to must be a stage of ", toString(graph_.mesh), ", got ", a.to);
    return {};
  }
  Status gather(const Node& node, const std::vector<int64_t>& extents) const {
    const int stage = graph_.stageOf(node), size = graph_.mesh.stage_sizes[static_cast<size_t>(stage)];
    if (static_cast<int>(extents.size()) != size) return invalid("all_gather: needs an extent for each of ", size, " ranks, got ", extents.size());
    const int64_t width = graph_.value(node.operands[0]).type.shape[1].size();
    const int64_t whole = graph_.value(node.results[0]).type.shape[1].size();
    const int64_t wanted = graph_.rank ? extents[static_cast<size_t>(*graph_.rank - graph_.mesh.firstRank(stage))] : whole;
    if (width != wanted) return invalid("all_gather: x must have ", wanted, " columns as its extents say, has ", width);
    return {};
  }
  Status peerRank(const Node& node, int64_t peer) const {
    if (!graph_.rank) return invalid(definition(node.op).mnemonic, " belongs in local graphs; a global one has transfer");
    if (peer < 0 || peer >= graph_.mesh.numRanks() || peer == *graph_.rank) return invalid(definition(node.op).mnemonic, ": must name another rank of ", toString(graph_.mesh), ", got ", peer);
    return {};
  }

  const Graph& graph_;
  std::vector<int> producer_;
};

Status verifyStage(const Graph& graph, const Node& node) {
  const int stage = graph.stageOf(node);
  if (stage < 0 || stage >= graph.mesh.numStages()) return invalid("stage ", stage, " is not one of ", toString(graph.mesh));
  if (graph.rank && stage != graph.mesh.stageOf(*graph.rank)) return invalid("rank ", *graph.rank, " is on stage ", graph.mesh.stageOf(*graph.rank), ", the block on ", stage);
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

/// Annotations that are there fit their types and the mesh, at any time.
Status verifySplits(const Graph& graph, const Node& node) {
  const int stage_size = graph.mesh.stage_sizes[static_cast<size_t>(graph.stageOf(node))];
  for (ValueId id : node.results) {
    const Value& value = graph.value(id);
    const Split* split = value.sharding ? asSplit(*value.sharding) : nullptr;
    if (split) EXO_TRY(verifySplit(*split, value.type, stage_size));
  }
  return {};
}

Status verifySharded(const Graph& graph, const Node& node, const std::vector<int>& stage_of) {
  for (ValueId id : node.results) {
    if (!graph.value(id).sharding) return invalid("value %", graph.value(id).name, " has no sharding");
  }
  for (ValueId id : node.operands) {
    const int stage = stage_of[static_cast<size_t>(id)];
    if (stage >= 0 && stage != graph.stageOf(node)) return invalid("operand ", graph.value(id).name, " is on stage ", stage, ", its reader on ", graph.stageOf(node), ": needs a transfer");
  }
  return verifyRule(graph, node);
}

/// Where each value is; -1: everywhere.
std::vector<int> stagesOfValues(const Graph& graph) {
  std::vector<int> stage(graph.values.size(), -1);
  for (const Node& node : graph.nodes) {
    if (definition(node.op).has(kEverywhere)) continue;
    const auto* transfer = std::get_if<TransferAttrs>(&node.attrs);
    for (ValueId id : node.results) stage[static_cast<size_t>(id)] = transfer ? static_cast<int>(transfer->to) : graph.stageOf(node);
  }
  return stage;
}

Status verifyPartitioned(const Graph& graph, const Node& node) {
  if (!graph.rank) return invalid("a local graph must say its rank");
  for (ValueId id : node.results) {
    if (graph.value(id).sharding) return invalid("value %", graph.value(id).name, " still has a sharding");
  }
  return {};
}

Status verifyGraph(const Graph& graph, Stage stage) {
  EXO_TRY(verifyOrder(graph));
  const Structure structure(graph);
  const std::vector<int> stage_of = stagesOfValues(graph);
  const auto verifyNode = [&](const Node& node) -> Status {
    EXO_TRY(verifyStage(graph, node));
    EXO_TRY(verifyTypes(graph, node));
    EXO_TRY(structure.verifyNode(node));
    EXO_TRY(verifySplits(graph, node));
    if (stage == Stage::kSharded) EXO_TRY(verifySharded(graph, node, stage_of));
    if (stage == Stage::kPartitioned) EXO_TRY(verifyPartitioned(graph, node));
    return {};
  };
  for (const Node& node : graph.nodes) {
    if (auto s = verifyNode(node); !s.ok()) return at(graph, node, s.error());
  }
  for (ValueId id : graph.outputs) EXO_TRY(structure.verifyOutput(id));
  return {};
}

/// Local graphs: one for each rank of one mesh, in order.
Status verifyRanks(const Module& module) {
  const Graph& first = module.graphs.front();
  if (!first.rank) return {};
  if (static_cast<int>(module.graphs.size()) != first.mesh.numRanks()) return invalid("a module of local graphs needs one for each of ", first.mesh.numRanks(), " ranks, got ", module.graphs.size());
  for (size_t r = 0; r < module.graphs.size(); ++r) {
    const Graph& graph = module.graphs[r];
    if (graph.mesh != first.mesh) return invalid("local graph ", r, " is of ", toString(graph.mesh), ", the first of ", toString(first.mesh));
    if (graph.rank != static_cast<int>(r)) return invalid("local graph ", r, " must be of rank ", r);
  }
  return {};
}

}  // namespace

Status verify(const Graph& graph, Stage stage) { return verifyGraph(graph, stage); }

Status verify(const Module& module, Stage stage) {
  for (const Graph& graph : module.graphs) EXO_TRY(verify(graph, stage));
  if (stage == Stage::kPartitioned && !module.graphs.empty()) EXO_TRY(verifyRanks(module));
  return {};
}

}  // namespace exo
