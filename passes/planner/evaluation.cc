#include "passes/planner/evaluation.h"

#include <algorithm>

namespace exo {
namespace {

std::vector<Group> groupsOf(const CostModel& model, const Arrangement& arrangement) {
  std::vector<Group> groups;
  for (const auto& nodes : arrangement) groups.push_back(model.group(nodes));
  return groups;
}

/// Rank 0 tells all others what to do, and its stage hears the outputs of the last one.
double controlSeconds(const CostModel& model, const Evaluation& e) {
  const Arrangement& arrangement = e.arrangement;
  const int first = arrangement.front().front();
  double tell = 0;
  for (const auto& group : arrangement)
    for (int node : group)
      if (node != first) tell = std::max(tell, model.rates().link(first, node).latency_s);
  return tell + (arrangement.size() > 1 ? model.transferSeconds(e.groups.back(), e.groups.front(), model.model().returned_bytes) : 0);
}

void timeDecode(const CostModel& model, Evaluation& e) {
  e.communication_s = controlSeconds(model, e);
  double busy = 0;
  for (size_t s = 0; s < e.stages.size(); ++s) {
    e.communication_s += e.stages[s].decode_comm_s;
    busy += e.stages[s].decode_s - e.stages[s].decode_comm_s;
    if (s + 1 == e.stages.size()) break;
    const UnitCosts& last = model.model().units[static_cast<size_t>(e.cuts[s + 1] - 1)];
    e.communication_s += model.transferSeconds(e.groups[s], e.groups[s + 1], last.decode.handed_on_bytes);
  }
  e.seconds_per_token = busy + e.communication_s;
}

void timePrefill(const CostModel& model, Evaluation& e) {
  double through = controlSeconds(model, e), slowest = 0;
  for (size_t s = 0; s < e.stages.size(); ++s) {
    double seconds = model.prefillSeconds(e.groups[s], e.cuts[s], e.cuts[s + 1], e.stages[s].shares);
    if (s + 1 < e.stages.size()) {
      const UnitCosts& last = model.model().units[static_cast<size_t>(e.cuts[s + 1] - 1)];
      seconds += model.transferSeconds(e.groups[s], e.groups[s + 1], last.prefill.handed_on_bytes);
    }
    through += seconds;
    slowest = std::max(slowest, seconds);
  }
  e.seconds_to_first_token = through + (model.model().prefill_chunks - 1) * slowest;
}

/// Bytes and messages a rank sends in a decode step, step descriptors not counted.
void countMessages(const CostModel& model, const Evaluation& e, size_t stage, size_t index, RankPrediction& out) {
  const Group& group = e.groups[stage];
  const double n = static_cast<double>(group.nodes.size());
  for (int u = e.cuts[stage]; u < e.cuts[stage + 1] && n > 1; ++u) {
    for (double payload : model.model().units[static_cast<size_t>(u)].decode.payloads) {
      const ReduceAlgorithm algorithm = group.reduce.algorithm(payload);
      const bool is_one_shot = algorithm == ReduceAlgorithm::kOneShot;
      // Along the chain: one to either neighbour, but for the ends.
      out.sent_messages += algorithm == ReduceAlgorithm::kChain ? 2 * (n - 1) / n : (is_one_shot ? 1 : 2) * (n - 1);
      out.sent_bytes += is_one_shot ? (n - 1) * payload : 2 * (n - 1) / n * payload;
    }
  }
  if (e.groups.size() == 1) return;
  const bool is_last = stage + 1 == e.stages.size();
  const UnitCosts& last = model.model().units[static_cast<size_t>(e.cuts[stage + 1] - 1)];
  const size_t receivers = e.groups[is_last ? 0 : stage + 1].nodes.size();
  const double own = index < receivers ? static_cast<double>((receivers - 1 - index) / group.nodes.size() + 1) : 0;
  out.sent_messages += own * (is_last ? model.model().returned_values : last.handed_on_values);
  out.sent_bytes += own * (is_last ? model.model().returned_bytes : last.decode.handed_on_bytes);
}

}  // namespace

std::optional<Evaluation> evaluate(const CostModel& model, const Arrangement& arrangement, Cut cut, MemoryLimit limit) {
  Evaluation e{.arrangement = arrangement, .groups = groupsOf(model, arrangement)};
  std::optional<std::vector<int>> cuts = cutUnits(model, e.groups, cut, limit);
  if (!cuts) return std::nullopt;
  e.cuts = std::move(*cuts);
  for (size_t s = 0; s < e.groups.size(); ++s) {
    std::optional<StageCost> cost = model.stage(e.groups[s], e.cuts[s], e.cuts[s + 1], limit);
    if (!cost) return std::nullopt;
    e.stages.push_back(std::move(*cost));
  }
  timeDecode(model, e);
  timePrefill(model, e);
  return e;
}

bool fits(const CostModel& model, const Arrangement& arrangement) {
  return cutUnits(model, groupsOf(model, arrangement), Cut::kFill, MemoryLimit::kRespect).has_value();
}

Prediction predict(const CostModel& model, const Evaluation& e) {
  Prediction out{.seconds_per_token = e.seconds_per_token,
                 .seconds_to_first_token = e.seconds_to_first_token,
                 .prompt_tokens = model.model().prompt_tokens,
                 .tokens_per_second = e.seconds_per_token > 0 ? model.model().batch / e.seconds_per_token : 0,
                 .communication_s = e.communication_s};
  for (size_t s = 0; s < e.groups.size(); ++s) {
    for (size_t i = 0; i < e.groups[s].nodes.size(); ++i) {
      const int node = e.groups[s].nodes[i];
      RankPrediction rank{.rank = static_cast<int>(out.ranks.size()), .node = node, .stage = static_cast<int>(s)};
      rank.node_name = model.rates().nodes[static_cast<size_t>(node)].name;
      rank.share = e.stages[s].shares[i];
      rank.memory = model.memory(e.groups[s], e.cuts[s], e.cuts[s + 1], rank.share);
      rank.memory_bytes = model.rates().nodes[static_cast<size_t>(node)].memory_bytes;
      rank.usable_bytes = model.usableBytes(node);
      rank.busy = e.seconds_per_token > 0 ? e.stages[s].busy_s[i] / e.seconds_per_token : 0;
      countMessages(model, e, s, i, rank);
      out.ranks.push_back(std::move(rank));
    }
  }
  return out;
}

std::optional<Shortfall> worstShortfall(const CostModel& model, const Evaluation& e) {
  std::optional<Shortfall> worst;
  for (const RankPrediction& rank : predict(model, e).ranks) {
    const Shortfall own{rank.node, rank.memory.total(), rank.usable_bytes};
    if (own.needed <= own.usable) continue;
    if (!worst || own.needed - own.usable > worst->needed - worst->usable) worst = own;
  }
  return worst;
}

}  // namespace exo
