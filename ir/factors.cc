#include "ir/factors.h"

#include <algorithm>

namespace exo {

namespace {

/// The factor that is split: its letter, and ranges in units of a dimension of `size`.
struct Anchor {
  char factor;
  std::vector<Range> ranges;
  int64_t size;
};

const std::string& letters(const FactorMap& map, const Node& node, size_t position) {
  return position < node.operands.size() ? map.operands[position] : map.results[position - node.operands.size()];
}

std::optional<Anchor> anchorOf(const FactorMap& map, const std::string& dims, const Type& type, const std::optional<Sharding>& sharding) {
  const Split* split = sharding ? asSplit(*sharding) : nullptr;
  if (!split || split->dim >= static_cast<int>(dims.size())) return std::nullopt;
  const char factor = dims[static_cast<size_t>(split->dim)];
  if (map.whole.find(factor) != std::string::npos) return std::nullopt;
  return Anchor{factor, split->ranges, type.shape[static_cast<size_t>(split->dim)].size()};
}

/// Global operands first, then operands, then results. Of one factor the finest dimension wins: it says most.
std::optional<Anchor> findAnchor(const Graph& graph, const Node& node, const FactorMap& map, const KnownSharding& known) {
  std::vector<ValueId> ids = node.operands;
  ids.insert(ids.end(), node.results.begin(), node.results.end());
  std::optional<Anchor> best;
  for (size_t p = 0; p < ids.size(); ++p) {
    const bool is_result = p >= node.operands.size();
    auto anchor = anchorOf(map, letters(map, node, p), graph.value(ids[p]).type, known(ids[p]));
    if (!anchor) continue;
    const bool global = !is_result && graph.isGlobal(ids[p]);
    if (!best || (best->factor == anchor->factor && anchor->size > best->size) || (global && best->factor != anchor->factor)) best = anchor;
  }
  return best;
}

Sharding shardingFrom(const Anchor& anchor, const std::string& dims, const Type& type) {
  const size_t dim = dims.find(anchor.factor);
  if (dim == std::string::npos) return Replicated{};
  return Split{static_cast<int>(dim), scaleRanges(anchor.ranges, anchor.size, type.shape[dim].size())};
}

bool allLinearOperandsPartial(const Node& node, const FactorMap& map, const KnownSharding& known) {
  return !map.linear.empty() && std::all_of(map.linear.begin(), map.linear.end(), [&](int i) {
    const auto sharding = known(node.operands[static_cast<size_t>(i)]);
    return sharding && isPartial(*sharding);
  });
}

NodeSharding replicatedRule(const Node& node, const FactorMap& map, const KnownSharding& known) {
  NodeSharding rule{std::vector<Sharding>(node.operands.size(), Replicated{}), std::vector<Sharding>(node.results.size(), Replicated{})};
  if (allLinearOperandsPartial(node, map, known)) {
    for (int i : map.linear) rule.operands[static_cast<size_t>(i)] = Partial{};
    for (Sharding& result : rule.results) result = Partial{};
  }
  return rule;
}

/// Collectives say by what they are which sharding they take; their results are replicated.
NodeSharding collectiveRule(const Node& node) {
  NodeSharding rule{std::vector<Sharding>(node.operands.size(), Replicated{}), std::vector<Sharding>(node.results.size(), Replicated{})};
  for (size_t i = 0; i < node.operands.size(); ++i) {
    if (node.op == Op::kAllReduce) rule.operands[i] = Partial{Partial::Kind::kSum};
    if (node.op == Op::kTopKMerge) rule.operands[i] = Partial{Partial::Kind::kTopK};
    if (node.op == Op::kAllGather) {
      const auto& a = std::get<GatherAttrs>(node.attrs);
      rule.operands[i] = Split{static_cast<int>(a.dim), rangesFromExtents(a.extents)};
    }
  }
  return rule;
}

}  // namespace

std::vector<Range> scaleRanges(const std::vector<Range>& ranges, int64_t from_size, int64_t size) {
  using Wide = __int128;  // the products of two sizes
  const Wide from = std::max<int64_t>(from_size, 1), to = size;
  std::vector<Range> scaled;
  for (const Range& range : ranges) {
    const int64_t begin = static_cast<int64_t>(range.begin * to / from);
    const int64_t end = static_cast<int64_t>((range.end * to + from - 1) / from);
    scaled.push_back({begin, range.size() == 0 ? begin : end});
  }
  return scaled;
}

NodeSharding shardingRule(const Graph& graph, const Node& node, const KnownSharding& known) {
  const OpDef& def = definition(node.op);
  if (def.has(kCollective)) return collectiveRule(node);
  const FactorMap map = def.factors(node.attrs, graph.operandTypes(node));
  if (map.operands.empty()) return replicatedRule(node, map, known);
  const auto anchor = findAnchor(graph, node, map, known);
  if (!anchor) return replicatedRule(node, map, known);
  NodeSharding rule;
  bool in_result = false;
  for (size_t i = 0; i < node.operands.size(); ++i) rule.operands.push_back(shardingFrom(*anchor, map.operands[i], graph.value(node.operands[i]).type));
  for (const std::string& dims : map.results) in_result |= dims.find(anchor->factor) != std::string::npos;
  for (size_t i = 0; i < node.results.size(); ++i) {
    if (in_result) rule.results.push_back(shardingFrom(*anchor, map.results[i], graph.value(node.results[i]).type));
    else rule.results.push_back(Partial{map.reduction});
  }
  return rule;
}

Status verifyRule(const Graph& graph, const Node& node) {
  if (definition(node.op).has(kSource)) return {};  // weights and caches are what they are annotated to be
  const NodeSharding rule = shardingRule(graph, node, [&](ValueId id) { return graph.value(id).sharding; });
  const auto check = [&](ValueId id, const Sharding& wanted, const char* role) -> Status {
    const Sharding& have = *graph.value(id).sharding;
    if (have == wanted) return {};
    return invalid(role, " ", graph.value(id).name, " must be ", toString(wanted), ", is ", toString(have));
  };
  for (size_t i = 0; i < node.operands.size(); ++i) EXO_TRY(check(node.operands[i], rule.operands[i], "operand"));
  for (size_t i = 0; i < node.results.size(); ++i) EXO_TRY(check(node.results[i], rule.results[i], "result"));
  return {};
}

}  // namespace exo
