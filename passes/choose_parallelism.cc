#include "passes/choose_parallelism.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "ir/factors.h"
#include "passes/shard_sizes.h"

namespace exo {

namespace {

constexpr int64_t kSimdRows = 16;  // rows of a weight panel: a split inside one wastes lanes

Status checkShares(const std::vector<double>& shares, size_t stage) {
  double sum = 0;
  for (double share : shares) {
    if (!(share >= 0) || !(share <= 1e9)) return invalid("choose_parallelism: shares of stage ", stage, " must lie between 0 and 1e9, got ", share);
    sum += share;
  }
  if (sum <= 0) return invalid("choose_parallelism: a rank of stage ", stage, " must have a share above 0");
  return {};
}

Status assignStages(Graph& graph, const ParallelPlan& plan) {
  graph.mesh.stage_sizes.clear();
  int block = 0;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    if (stage.first_block != block || stage.end_block < block || stage.nodes.empty() || stage.shares.size() != stage.nodes.size()) {
      return invalid("choose_parallelism: stage ", s, " must start at block ", block, " and have a share for each of its nodes");
    }
    EXO_TRY(checkShares(stage.shares, s));
    graph.mesh.stage_sizes.push_back(static_cast<int>(stage.nodes.size()));
    for (; block < stage.end_block && block < static_cast<int>(graph.blocks.size()); ++block) graph.blocks[static_cast<size_t>(block)].stage = static_cast<int>(s);
  }
  if (block != static_cast<int>(graph.blocks.size())) return invalid("choose_parallelism: the plan covers ", block, " of ", graph.blocks.size(), " blocks");
  return {};
}

/// A weight that another stage uses too is loaded there as well: each stage gets its own node.
void copyWeightsPerStage(Graph& graph, Notes& notes) {
  std::vector<int> producer = graph.producers();
  std::map<std::pair<ValueId, int>, ValueId> copies;
  std::set<std::string> names;
  for (const Value& value : graph.values) names.insert(value.name);
  std::vector<Node> nodes;
  for (Node node : graph.nodes) {
    const int stage = graph.stageOf(node);
    for (ValueId& id : node.operands) {
      const Node& source = graph.nodes[static_cast<size_t>(producer[static_cast<size_t>(id)])];
      if (source.op != Op::kWeight || graph.stageOf(source) == stage) continue;
      auto [copy, fresh] = copies.try_emplace({id, stage});
      if (fresh) {
        Node duplicate = source;
        duplicate.block = node.block;
        Value value = graph.value(id);
        notes.push_back("@" + value.name + " is used by two stages and held by both");
        value.name += ".stage" + std::to_string(stage);
        while (!names.insert(value.name).second) value.name += ".copy";
        copy->second = static_cast<ValueId>(graph.values.size());
        graph.values.push_back(value);
        duplicate.results = {copy->second};
        nodes.push_back(duplicate);
      }
      id = copy->second;
    }
    nodes.push_back(std::move(node));
  }
  graph.nodes = std::move(nodes);
  graph = renumber(graph);
}

class Annotator {
 public:
  Annotator(Graph& graph, const ParallelPlan& plan, Notes& notes) : graph_(graph), plan_(plan), notes_(notes), producer_(graph.producers()) {}

  void run() {
    for (const Node& node : graph_.nodes) {
      if (ranks(node) == 1) continue;
      if (node.op == Op::kAttention) splitAttention(node);
      if (node.op == Op::kSiluMul) splitColumns(node);
      if (node.op == Op::kEmbed) splitVocabulary(node, node.operands[1]);
      if (node.op == Op::kTopK) splitVocabulary(node, weightBehind(node.operands[0]));
    }
  }

 private:
  const std::vector<double>& shares(const Node& node) const { return plan_.stages[static_cast<size_t>(graph_.stageOf(node))].shares; }
  size_t ranks(const Node& node) const { return shares(node).size(); }
  const Node& producer(ValueId id) const { return graph_.nodes[static_cast<size_t>(producer_[static_cast<size_t>(id)])]; }
  int64_t dim(ValueId id, size_t d) const { return graph_.value(id).type.shape[d].size(); }
  void note(const std::string& text) {
    if (std::find(notes_.begin(), notes_.end(), text) == notes_.end()) notes_.push_back(text);
  }
  void annotate(ValueId id, int dim, std::vector<Range> ranges) {
    if (id >= 0 && !graph_.value(id).sharding) graph_.value(id).sharding = Split{dim, std::move(ranges)};
  }

  /// The weight of the matmul that made a value, seen through what works on each element or head by itself.
  ValueId weightBehind(ValueId id) const {
    for (const Node* node = &producer(id);; node = &producer(node->operands[0])) {
      if (node->op == Op::kMatMul || node->op == Op::kExpertMatMul) return node->operands[1];
      const bool transparent = node->op == Op::kRope || node->op == Op::kHeadNorm || node->op == Op::kBiasAdd || node->op == Op::kExpertBiasAdd || node->op == Op::kNormBySum ||
                               node->op == Op::kSoftCap || node->op == Op::kQuantize || node->op == Op::kHeadMatMul || node->op == Op::kHeadConcat;
      if (!transparent) return -1;
    }
  }

  /// Was the value normed over all its heads at once?
  bool summedOver(ValueId id) const {
    const Node* node = &producer(id);
    while (node->op == Op::kRope) node = &producer(node->operands[0]);
    return node->op == Op::kNormBySum;
  }

  /// Elements of the attention's output that must stay together: whole KV-head groups, or whole heads when there are more
  /// ranks than groups; and, where weights are in blocks of 32, whole blocks, so that no block is cut.
  int64_t attentionUnit(const Node& node, int64_t width, int64_t kv_heads, bool blocked, bool joint) {
    const auto& a = std::get<AttentionAttrs>(node.attrs);
    const int64_t n = static_cast<int64_t>(ranks(node));
    int64_t unit = width / kv_heads;
    if (n > kv_heads && !joint) {
      unit = a.head_dim;
      note(std::to_string(n) + " ranks, " + std::to_string(kv_heads) + " KV heads: query heads are split, KV heads are held by every rank that reads them");
    }
    if (blocked && unit % kQuantBlock != 0) {
      const int64_t aligned = std::lcm(unit, kQuantBlock);
      if (width % aligned == 0) unit = aligned;
      else note("heads of " + std::to_string(a.head_dim) + " cut blocks of " + std::to_string(kQuantBlock) + ": output projections are quantised again per shard");
    }
    if (width / unit < n) note("only " + std::to_string(width / unit) + " of " + std::to_string(n) + " ranks get a share of attention: heads cannot be cut further");
    return unit;
  }

  /// Heads that must stay together, so that no block of 32 of the output projection is cut.
  int64_t latentUnit(const Node& node, int64_t heads, bool blocked) {
    const auto reader = std::find_if(graph_.nodes.begin(), graph_.nodes.end(), [&](const Node& other) { return other.op == Op::kHeadMatMul && other.operands[0] == node.results[0]; });
    if (!blocked || heads == 0 || reader == graph_.nodes.end()) return 1;
    const int64_t width = dim(reader->results[0], 1), value_dim = width / heads, aligned = std::lcm(value_dim, kQuantBlock);
    if (width % aligned == 0) return aligned / value_dim;
    note("heads of " + std::to_string(value_dim) + " cut blocks of " + std::to_string(kQuantBlock) + ": output projections are quantised again per shard");
    return 1;
  }

  /// Query heads are split, from the projection that makes them; their matrices into and out of the latent space follow.
  void splitLatentAttention(const Node& node) {
    const auto& a = std::get<AttentionAttrs>(node.attrs);
    const ValueId weight = weightBehind(node.operands[0]);
    const int64_t heads = dim(node.operands[0], 1) / a.head_dim;
    if (weight < 0 || heads == 0 || dim(weight, 0) % heads != 0) {
      note("latent attention whose queries do not come out of one projection is not split");
      return;
    }
    const int64_t unit = latentUnit(node, heads, isBlocked(graph_.value(weight).type.encoding)), n = static_cast<int64_t>(ranks(node));
    if (heads / unit < n) note("only " + std::to_string(heads / unit) + " of " + std::to_string(n) + " ranks get a share of attention: heads cannot be cut further");
    note("latent attention: query heads are split; what makes latent vectors, and the cache of them, every rank has");
    annotate(weight, 0, scaleRanges(splitByShares(heads, unit, shares(node)), heads, dim(weight, 0)));
  }

  void splitAttention(const Node& node) {
    if (std::get<AttentionAttrs>(node.attrs).value_dim > 0) return splitLatentAttention(node);
    const Node& append = producer(node.operands[1]);
    const ValueId query = node.operands[0], cache = append.operands[0];
    const int64_t width = dim(query, 1), kv_heads = dim(cache, 2), head_dim = dim(cache, 3);
    const auto& a = std::get<AttentionAttrs>(node.attrs);
    if (width == 0 || a.first_head != 0 || width != kv_heads * a.group * head_dim) {
      note("attention whose query heads are not " + std::to_string(a.group) + " for each KV head is not split");
      return;
    }
    const ValueId query_weight = weightBehind(query);
    // A sum over all heads (norm_by_sum) would count a KV head twice that two ranks hold: then only whole groups are split.
    const bool joint = summedOver(append.operands[1]);
    const bool blocked = query_weight >= 0 && isBlocked(graph_.value(query_weight).type.encoding);
    const auto ranges = splitByShares(width, attentionUnit(node, width, kv_heads, blocked, joint), shares(node));
    const auto heads = scaleRanges(ranges, width, kv_heads);
    const auto kv_rows = scaleRanges(heads, kv_heads, kv_heads * head_dim);
    annotate(query_weight, 0, ranges);
    annotate(cache, 2, heads);
    annotate(weightBehind(append.operands[1]), 0, kv_rows);
    annotate(weightBehind(append.operands[2]), 0, kv_rows);
  }

  void splitColumns(const Node& node) {
    for (ValueId operand : node.operands) {
      const ValueId weight = weightBehind(operand);
      if (weight < 0) continue;
      const Type& type = graph_.value(weight).type;
      const size_t d = type.rank() - 2;  // rows of the weight: columns of its output
      annotate(weight, static_cast<int>(d), splitByShares(dim(weight, d), columnUnit(node, dim(weight, d), isBlocked(type.encoding)), shares(node)));
    }
  }
  int64_t columnUnit(const Node& node, int64_t columns, bool blocked) {
    if (blocked) return kQuantBlock;
    return columns >= 2 * kSimdRows * static_cast<int64_t>(ranks(node)) ? kSimdRows : 1;
  }

  void splitVocabulary(const Node& node, ValueId weight) {
    if (weight < 0) return;
    annotate(weight, 0, splitByShares(dim(weight, 0), columnUnit(node, dim(weight, 0), false), shares(node)));
  }

  Graph& graph_;
  const ParallelPlan& plan_;
  Notes& notes_;
  std::vector<int> producer_;
};

}  // namespace

ParallelPlan equalPlan(int num_blocks, int stages, int ranks_per_stage) {
  ParallelPlan plan;
  for (int s = 0; s < stages; ++s) {
    StagePlan stage;
    stage.first_block = static_cast<int>(int64_t{num_blocks} * s / stages);
    stage.end_block = static_cast<int>(int64_t{num_blocks} * (s + 1) / stages);
    for (int r = 0; r < ranks_per_stage; ++r) stage.nodes.push_back(s * ranks_per_stage + r);
    stage.shares.assign(static_cast<size_t>(ranks_per_stage), 1.0 / ranks_per_stage);
    plan.stages.push_back(stage);
  }
  return plan;
}

Result<Graph> chooseParallelism(const Graph& graph, const ParallelPlan& plan, Notes& notes) {
  Graph result = graph;
  EXO_TRY(assignStages(result, plan));
  copyWeightsPerStage(result, notes);
  Annotator(result, plan, notes).run();
  return result;
}

}  // namespace exo
