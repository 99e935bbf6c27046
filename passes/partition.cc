#include "passes/partition.h"

#include <algorithm>

#include "ir/verify.h"

namespace exo {

namespace {

/// The part of a value that rank `index` of its stage holds, per dimension.
std::vector<Range> localRanges(const Value& value, int index) {
  std::vector<Range> ranges;
  for (Dim dim : value.type.shape) ranges.push_back({0, dim.isSymbol() ? 0 : dim.size()});
  if (const Split* split = asSplit(*value.sharding)) ranges[static_cast<size_t>(split->dim)] = split->ranges[static_cast<size_t>(index)];
  return ranges;
}

Type localType(const Value& value, int index) {
  Type type = value.type;
  if (const Split* split = asSplit(*value.sharding)) type.shape[static_cast<size_t>(split->dim)] = split->ranges[static_cast<size_t>(index)].size();
  return type;
}

int64_t localBegin(const Value& value, int dim, int index) { return localRanges(value, index)[static_cast<size_t>(dim)].begin; }

/// Attributes that name positions become relative to the shard.
Attrs localAttrs(const Graph& graph, const Node& node, int index) {
  Attrs attrs = node.attrs;
  if (auto* weight = std::get_if<WeightAttrs>(&attrs)) {
    const auto ranges = localRanges(graph.value(node.results[0]), index);
    for (size_t d = 0; d < ranges.size(); ++d) weight->begin[d] += ranges[d].begin;
  }
  if (auto* embed = std::get_if<EmbedAttrs>(&attrs)) embed->begin += localBegin(graph.value(node.operands[1]), 0, index);
  if (auto* top_k = std::get_if<TopKAttrs>(&attrs)) top_k->begin += localBegin(graph.value(node.operands[0]), 1, index);
  if (auto* attention = std::get_if<AttentionAttrs>(&attrs)) {
    const int64_t first_query_head = localBegin(graph.value(node.operands[0]), 1, index) / attention->head_dim;
    const int64_t first_kv_head = localBegin(graph.value(node.operands[1]), 2, index);
    attention->first_head += first_query_head - first_kv_head * attention->group;
    if (localType(graph.value(node.operands[0]), index).shape[1] == Dim(0)) attention->first_head = 0;
  }
  return attrs;
}

class RankPartition {
 public:
  RankPartition(const Graph& graph, int rank)
      : graph_(graph), stage_(graph.mesh.stageOf(rank)), index_(rank - graph.mesh.firstRank(stage_)), to_(graph.values.size(), -1) {
    local_.name = graph.name;
    local_.mesh = graph.mesh;
    local_.rank = rank;
    local_.blocks = graph.blocks;
  }

  Graph run() {
    const std::vector<bool> needed = neededSources();
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (definition(node.op).has(kEverywhere)) {
        if (needed[n]) copy(node);
      } else if (node.op == Op::kTransfer) {
        transfer(node);
      } else if (graph_.stageOf(node) == stage_) {
        copy(node);
      }
    }
    for (ValueId id : graph_.outputs) {
      if (to_[static_cast<size_t>(id)] >= 0) local_.outputs.push_back(to_[static_cast<size_t>(id)]);
    }
    return renumber(local_);
  }

 private:
  /// Inputs and tables live on each rank whose nodes read them.
  std::vector<bool> neededSources() const {
    const std::vector<int> producer = graph_.producers();
    std::vector<bool> needed(graph_.nodes.size());
    for (const Node& node : graph_.nodes) {
      if (graph_.stageOf(node) != stage_) continue;
      for (ValueId id : node.operands) needed[static_cast<size_t>(producer[static_cast<size_t>(id)])] = true;
    }
    for (ValueId id : graph_.outputs) needed[static_cast<size_t>(producer[static_cast<size_t>(id)])] = needed[static_cast<size_t>(producer[static_cast<size_t>(id)])] || stage_ == 0;
    return needed;
  }
  ValueId define(ValueId id) {
    const Value& value = graph_.value(id);
    local_.values.push_back({value.name, localType(value, index_), std::nullopt, std::nullopt, value.global});
    return to_[static_cast<size_t>(id)] = static_cast<ValueId>(local_.values.size()) - 1;
  }
  void copy(const Node& node) {
    Node local{node.op, localAttrs(graph_, node, index_), {}, {}, node.block, node.region};
    if (definition(node.op).has(kEverywhere)) local.block = ownBlock(node.block);
    for (ValueId id : node.operands) local.operands.push_back(to_[static_cast<size_t>(id)]);
    for (ValueId id : node.results) local.results.push_back(define(id));
    local_.nodes.push_back(std::move(local));
  }
  /// What belongs to no stage, or comes from another, is listed under a block of this rank's stage.
  int ownBlock(int block) {
    if (local_.blocks[static_cast<size_t>(block)].stage == stage_) return block;
    const std::string name = "from." + local_.blocks[static_cast<size_t>(block)].name;
    for (size_t i = 0; i < local_.blocks.size(); ++i) {
      if (local_.blocks[i].name == name) return static_cast<int>(i);
    }
    local_.blocks.push_back({name, stage_});
    return static_cast<int>(local_.blocks.size()) - 1;
  }
  /// Rank j of the receiving stage takes from rank j mod n of the sending one.
  void transfer(const Node& node) {
    const auto& a = std::get<TransferAttrs>(node.attrs);
    const int from = static_cast<int>(a.from), to = static_cast<int>(a.to);
    const int senders = graph_.mesh.stage_sizes[static_cast<size_t>(from)], receivers = graph_.mesh.stage_sizes[static_cast<size_t>(to)];
    if (stage_ == to) {
      const int source = graph_.mesh.firstRank(from) + index_ % senders;
      Node recv{Op::kRecv, RecvAttrs{source}, {}, {}, ownBlock(node.block), ""};
      recv.results = {define(node.results[0])};
      local_.nodes.push_back(std::move(recv));
    }
    if (stage_ == from) {
      SendAttrs attrs;
      for (int j = index_; j < receivers; j += senders) attrs.to.push_back(graph_.mesh.firstRank(to) + j);
      if (!attrs.to.empty()) local_.nodes.push_back({Op::kSend, attrs, {to_[static_cast<size_t>(node.operands[0])]}, {}, node.block, ""});
    }
  }

  const Graph& graph_;
  int stage_, index_;
  Graph local_;
  std::vector<ValueId> to_;
};

/// The slice of its checkpoint tensors that a weight value is, per dimension.
std::vector<Range> sliceOf(const Graph& graph, const Node& node) {
  const auto& attrs = std::get<WeightAttrs>(node.attrs);
  std::vector<Range> ranges;
  const Type& type = graph.value(node.results[0]).type;
  for (size_t d = 0; d < type.rank(); ++d) ranges.push_back({attrs.begin[d], attrs.begin[d] + type.shape[d].size()});
  return ranges;
}

const Node* findWeight(const Graph& graph, const std::string& name) {
  for (const Node& node : graph.nodes) {
    if (node.op == Op::kWeight && graph.value(node.results[0]).name == name) return &node;
  }
  return nullptr;
}

Status proveWeight(const Graph& global, const Node& node, const Module& local) {
  const Value& value = global.value(node.results[0]);
  const int stage = global.stageOf(node);
  for (const Graph& graph : local.graphs) {
    const Node* own = findWeight(graph, value.name);
    const bool expected = global.mesh.stageOf(*graph.rank) == stage;
    if ((own != nullptr) != expected) return invalid("coverage: rank ", *graph.rank, expected ? " must hold @" : " must not hold @", value.name);
    if (!own) continue;
    if (std::get<WeightAttrs>(own->attrs).tensor != std::get<WeightAttrs>(node.attrs).tensor) return invalid("coverage: rank ", *graph.rank, " reads another tensor for @", value.name);
    std::vector<Range> wanted = localRanges(value, *graph.rank - global.mesh.firstRank(stage));
    const auto& begin = std::get<WeightAttrs>(node.attrs).begin;
    for (size_t d = 0; d < wanted.size(); ++d) wanted[d] = {wanted[d].begin + begin[d], wanted[d].end + begin[d]};
    if (sliceOf(graph, *own) != wanted) return invalid("coverage: rank ", *graph.rank, " holds another slice of @", value.name, " than ", toString(*value.sharding), " gives it");
  }
  return {};
}

/// Not counted: what moves values between stages, and what select_kernels adds behind this pass.
size_t countCompute(const Graph& graph, const std::string& block) {
  return static_cast<size_t>(std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    const OpDef& def = definition(node.op);
    return !def.has(kSource) && node.op != Op::kTransfer && node.op != Op::kSend && node.op != Op::kQuantize && graph.blocks[static_cast<size_t>(node.block)].name == block;
  }));
}

Status proveBlocks(const Graph& global, const Module& local) {
  for (const Block& block : global.blocks) {
    for (const Graph& graph : local.graphs) {
      const size_t wanted = global.mesh.stageOf(*graph.rank) == block.stage ? countCompute(global, block.name) : 0;
      const size_t have = countCompute(graph, block.name);
      if (have != wanted) return invalid("coverage: rank ", *graph.rank, " runs ", have, " operations of block ", block.name, ", must run ", wanted);
    }
  }
  return {};
}

}  // namespace

Status proveCoverage(const Graph& global, const Module& local) {
  if (static_cast<int>(local.graphs.size()) != global.mesh.numRanks()) return invalid("coverage: ", local.graphs.size(), " local graphs for ", global.mesh.numRanks(), " ranks");
  for (const Graph& graph : local.graphs) {
    if (!graph.rank) return invalid("coverage: a local graph without rank");
  }
  for (const Node& node : global.nodes) {
    if (node.op == Op::kWeight) EXO_TRY(proveWeight(global, node, local));
  }
  return proveBlocks(global, local);
}

Result<Module> partition(const Graph& graph) {
  if (graph.rank) return invalid("partition: the graph is local already (rank ", *graph.rank, ")");
  EXO_TRY(verify(graph, Stage::kSharded));
  Module module;
  for (int rank = 0; rank < graph.mesh.numRanks(); ++rank) module.graphs.push_back(RankPartition(graph, rank).run());
  EXO_TRY(proveCoverage(graph, module));
  return module;
}

}  // namespace exo
