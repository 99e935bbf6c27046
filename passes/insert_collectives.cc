#include "passes/insert_collectives.h"

#include <algorithm>
#include <map>
#include <set>

#include "ir/factors.h"
#include "ir/text.h"

namespace exo {

namespace {

class Inserter {
 public:
  explicit Inserter(const Graph& graph) : graph_(graph), source_(graph), producer_(graph.producers()) {
    for (const Value& value : graph.values) names_.insert(value.name);
    graph_.nodes.clear();
  }

  Result<Graph> run() {
    EXO_TRY(findReaders());
    for (const Node& node : source_.nodes) {
      Node copy = node;
      for (size_t i = 0; i < node.operands.size(); ++i) copy.operands[i] = operandFor(node, i);
      graph_.nodes.push_back(copy);
      for (ValueId id : node.results) whole(node, id);
    }
    for (ValueId& id : graph_.outputs) id = onStage(wholeOf(id), 0);
    return renumber(graph_);
  }

 private:
  bool everywhere(ValueId id) const { return definition(producerOf(id).op).has(kEverywhere); }
  const Node& producerOf(ValueId id) const { return source_.nodes[static_cast<size_t>(producer_[static_cast<size_t>(id)])]; }
  int stageOf(ValueId id) const {  // what a transfer makes is where it goes
    const auto* transfer = std::get_if<TransferAttrs>(&producerOf(id).attrs);
    return transfer ? static_cast<int>(transfer->to) : source_.stageOf(producerOf(id));
  }
  /// Positions of the operands whose partial sums stay partial through this node.
  std::vector<int> flowing(const Node& node) const {
    if (definition(node.op).has(kSource) || !isPartial(*source_.value(node.results[0]).sharding)) return {};
    return definition(node.op).factors(node.attrs, source_.operandTypes(node)).linear;
  }
  bool flows(const Node& node, size_t position) const {
    const std::vector<int> positions = flowing(node);
    return std::find(positions.begin(), positions.end(), static_cast<int>(position)) != positions.end();
  }

  /// Which values somebody needs whole, and on which stages.
  Status findReaders() {
    for (const Node& node : source_.nodes) {
      if (definition(node.op).has(kSource)) continue;
      EXO_TRY(checkNode(node));
    }
    for (ValueId id : source_.outputs) needs(id, 0);
    return {};
  }
  void needs(ValueId id, int stage) {
    if (!isReplicated(*source_.value(id).sharding)) whole_.insert(id);
    if (stageOf(id) != stage) stages_[id].insert(stage);
  }
  Status checkNode(const Node& node) {
    const int stage = source_.stageOf(node);
    const bool keep_partial = !flowing(node).empty();
    const NodeSharding rule = shardingRule(source_, node, [&](ValueId id) -> std::optional<Sharding> {
      if (!everywhere(id) && stageOf(id) != stage) return Sharding{Replicated{}};
      if (isPartial(*source_.value(id).sharding) && !keep_partial) return Sharding{Replicated{}};
      return source_.value(id).sharding;
    });
    for (size_t i = 0; i < node.operands.size(); ++i) {
      const ValueId id = node.operands[i];
      if (everywhere(id)) continue;
      const Sharding& have = *source_.value(id).sharding;
      if (have == rule.operands[i] && stageOf(id) == stage) continue;
      if (!isReplicated(rule.operands[i])) {
        return makeError(ErrorCode::kUnsupported, "operand ", source_.value(id).name, " must be ", toString(rule.operands[i]), ", is ", toString(have))
            .note("in " + print(source_, node));
      }
      if (source_.isGlobal(id)) {
        const std::string what = isReplicated(have) ? "@" + source_.value(id).name + " is on stage " + std::to_string(stageOf(id)) + ", its reader on " + std::to_string(stage)
                                                    : "the split of @" + source_.value(id).name + ", " + toString(have) + ", fits no rule";
        return makeError(ErrorCode::kUnsupported, what).note("in " + print(source_, node));
      }
      needs(id, stage);
    }
    return {};
  }

  ValueId append(const Node& like, Op op, ValueId operand, Attrs attrs, const std::string& suffix) {
    Value value = graph_.value(operand);
    value.sharding = Replicated{};
    value.global = false;
    value.name = unique(value.name + suffix);
    graph_.values.push_back(value);
    const ValueId id = static_cast<ValueId>(graph_.values.size()) - 1;
    graph_.nodes.push_back({op, std::move(attrs), {operand}, {id}, like.block, ""});
    return id;
  }
  std::string unique(const std::string& wanted) {
    std::string name = wanted;
    for (int i = 1; !names_.insert(name).second; ++i) name = wanted + "." + std::to_string(i);
    return name;
  }

  /// Right behind its producer: the whole of a split or partial value, then its transfers.
  void whole(const Node& node, ValueId id) {
    const Sharding sharding = *source_.value(id).sharding;
    if (whole_.contains(id) && !replaced_.contains(id)) {
      if (const Split* split = asSplit(sharding)) {
        std::vector<int64_t> extents;
        for (const Range& range : split->ranges) extents.push_back(range.size());
        replaced_[id] = append(node, Op::kAllGather, id, GatherAttrs{split->dim, extents}, ".g");
      } else if (std::get<Partial>(sharding).kind == Partial::Kind::kTopK) {
        merge(node);
      } else {
        replaced_[id] = append(node, Op::kAllReduce, id, NoAttrs{}, ".r");
      }
    }
    for (int stage : stages_[id]) {
      const TransferAttrs attrs{stageOf(id), stage};
      moved_[{id, stage}] = append(node, Op::kTransfer, wholeOf(id), attrs, ".s" + std::to_string(stage));
    }
  }
  void merge(const Node& top_k) {
    std::vector<ValueId> ids;
    for (ValueId id : top_k.results) {
      Value value = graph_.value(id);
      value.sharding = Replicated{};
      value.name = unique(value.name + ".m");
      graph_.values.push_back(value);
      ids.push_back(replaced_[id] = static_cast<ValueId>(graph_.values.size()) - 1);
    }
    graph_.nodes.push_back({Op::kTopKMerge, NoAttrs{}, top_k.results, ids, top_k.block, ""});
  }
  ValueId wholeOf(ValueId id) const {
    const auto found = replaced_.find(id);
    return found == replaced_.end() ? id : found->second;
  }
  ValueId onStage(ValueId id, int stage) const {
    for (const auto& [key, moved] : moved_) {
      if (key.second == stage && wholeOf(key.first) == id) return moved;
    }
    return id;
  }
  ValueId operandFor(const Node& node, size_t position) const {
    const ValueId id = node.operands[position];
    if (everywhere(id)) return id;
    const int stage = source_.stageOf(node);
    if (stageOf(id) != stage) return moved_.at({id, stage});
    if (isPartial(*source_.value(id).sharding)) return flows(node, position) ? id : wholeOf(id);
    const auto found = replaced_.find(id);
    if (found == replaced_.end()) return id;
    const NodeSharding rule = shardingRule(source_, node, [&](ValueId v) { return source_.value(v).sharding; });
    return isReplicated(rule.operands[position]) ? found->second : id;
  }

  Graph graph_;
  const Graph& source_;
  std::vector<int> producer_;
  std::set<std::string> names_;
  std::set<ValueId> whole_;                       // needed whole by someone
  std::map<ValueId, std::set<int>> stages_;       // other stages that read a value
  std::map<ValueId, ValueId> replaced_;           // value → its whole
  std::map<std::pair<ValueId, int>, ValueId> moved_;
};

}  // namespace

Result<Graph> insertCollectives(const Graph& graph) {
  for (const Value& value : graph.values) {
    if (!value.sharding) return invalid("value ", value.name, " has no sharding: propagate_shardings gives every value one");
  }
  return Inserter(graph).run();
}

}  // namespace exo
