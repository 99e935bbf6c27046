#include "passes/planner/candidates.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace exo {
namespace {

using Order = std::vector<int>;

/// Decode lives on reading weights, prefill on computing; the first decides.
Order bySpeed(const Rates& rates) {
  Order order(rates.nodes.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int i) {
    const NodeRates& node = rates.nodes[static_cast<size_t>(i)];
    return std::tuple(-node.read_bytes_per_s, -node.int8_ops_per_s, -node.f32_flops_per_s, -node.memory_bytes);
  };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return key(a) < key(b); });
  return order;
}

Order byMemory(const Rates& rates) {
  Order order = bySpeed(rates);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return rates.nodes[static_cast<size_t>(a)].memory_bytes > rates.nodes[static_cast<size_t>(b)].memory_bytes; });
  return order;
}

/// Sets of nodes that reach each other faster than by default TCP between hosts, in the order given.
std::vector<Order> neighbourhoods(const Rates& rates, const Order& nodes) {
  std::vector<Order> sets;
  std::set<int> left(nodes.begin(), nodes.end());
  for (int seed : nodes) {
    if (!left.erase(seed)) continue;
    Order members = {seed};
    for (size_t at = 0; at < members.size(); ++at)
      for (int other : nodes)
        if (left.contains(other) && rates.link(members[at], other).latency_s <= 10e-6 && left.erase(other)) members.push_back(other);
    sets.push_back(std::move(members));
  }
  return sets;
}

Order flatten(const std::vector<Order>& sets) {
  Order out;
  for (const Order& set : sets) out.insert(out.end(), set.begin(), set.end());
  return out;
}

std::set<std::vector<int>> evenSizes(int nodes, int stages) {
  std::vector<int> sizes(static_cast<size_t>(stages), nodes / stages);
  for (int i = 0; i < nodes % stages; ++i) ++sizes[static_cast<size_t>(i)];
  return {sizes, {sizes.rbegin(), sizes.rend()}};
}

/// All ways to write `nodes` as a sum of `stages` positive numbers in order; for few nodes.
void compositions(int nodes, int stages, std::vector<int>& begun, std::set<std::vector<int>>& out) {
  if (stages == 1) {
    begun.push_back(nodes);
    out.insert(begun);
    begun.pop_back();
    return;
  }
  for (int first = 1; first <= nodes - stages + 1; ++first) {
    begun.push_back(first);
    compositions(nodes - first, stages - 1, begun, out);
    begun.pop_back();
  }
}

Arrangement arrange(const Order& order, const std::vector<int>& sizes) {
  Arrangement out;
  size_t at = 0;
  for (int size : sizes) {
    Order group(order.begin() + static_cast<std::ptrdiff_t>(at), order.begin() + static_cast<std::ptrdiff_t>(at) + size);
    std::sort(group.begin(), group.end());  // within a group order means nothing: the topology's is easiest to follow
    out.push_back(std::move(group));
    at += static_cast<size_t>(size);
  }
  return out;
}

/// Keeps arrangements in the order they were found, each once.
class Collection {
 public:
  void add(Arrangement arrangement) {
    if (seen_.insert(arrangement).second) found_.push_back(std::move(arrangement));
  }
  std::vector<Arrangement> take() && { return std::move(found_); }

 private:
  std::set<Arrangement> seen_;
  std::vector<Arrangement> found_;
};

std::vector<Order> ordersOf(const Rates& rates, const Order& chosen) {
  Order by_index = chosen;
  std::sort(by_index.begin(), by_index.end());
  return {chosen, by_index, flatten(neighbourhoods(rates, chosen))};
}

void addStages(const Rates& rates, const Order& chosen, int stages, Collection& out) {
  constexpr int kFewNodes = 5;  // 16 compositions at most
  const int nodes = static_cast<int>(chosen.size());
  std::set<std::vector<int>> sizes = evenSizes(nodes, stages);
  std::vector<int> begun;
  if (nodes <= kFewNodes) compositions(nodes, stages, begun, sizes);
  for (const Order& order : ordersOf(rates, chosen))
    for (const std::vector<int>& each : sizes) out.add(arrange(order, each));
  const std::vector<Order> near = neighbourhoods(rates, chosen);
  if (static_cast<int>(near.size()) != stages) return;
  std::vector<int> near_sizes;
  for (const Order& set : near) near_sizes.push_back(static_cast<int>(set.size()));
  out.add(arrange(flatten(near), near_sizes));
}

bool isWorthTrying(int nodes, int stages, const Rates& rates, const Order& chosen) {
  if (nodes <= 8 || stages <= 4 || stages == nodes) return true;
  return nodes % stages == 0 || stages == static_cast<int>(neighbourhoods(rates, chosen).size());
}

std::vector<Arrangement> autoArrangements(const Rates& rates, int num_units, std::vector<std::string>& notes) {
  Collection out;
  const int all = std::min<int>(static_cast<int>(rates.nodes.size()), kMostAutoNodes);
  if (all < static_cast<int>(rates.nodes.size()))
    notes.push_back("of " + std::to_string(rates.nodes.size()) + " nodes only the " + std::to_string(all) + " quickest (or largest) were considered");
  for (const Order& order : {bySpeed(rates), byMemory(rates)}) {
    for (int k = 1; k <= all; ++k) {
      if (k > 16 && k % 8 != 0 && k != all) continue;
      const Order chosen(order.begin(), order.begin() + k);
      for (int stages = 1; stages <= std::min(k, num_units); ++stages)
        if (isWorthTrying(k, stages, rates, chosen)) addStages(rates, chosen, stages, out);
    }
  }
  return std::move(out).take();
}

}  // namespace

Result<std::vector<Arrangement>> arrangements(const Rates& rates, const Strategy& strategy, int num_units, std::vector<std::string>& notes) {
  const int nodes = static_cast<int>(rates.nodes.size());
  if (strategy.kind == Strategy::Kind::kAuto) return autoArrangements(rates, num_units, notes);
  const bool is_grid = strategy.kind == Strategy::Kind::kGrid;
  const int stages = strategy.kind == Strategy::Kind::kPipeline ? nodes : is_grid ? strategy.pp : 1;
  const int used = is_grid ? strategy.tp * strategy.pp : nodes;
  if (used > nodes) return invalid("strategy ", toString(strategy), " needs ", strategy.tp, " x ", strategy.pp, " = ", used, " nodes, the topology has ", nodes);
  if (stages > num_units) return invalid("strategy ", toString(strategy), " makes ", stages, " pipeline stages, the model has only ", num_units, num_units == 1 ? " layer" : " layers");
  Collection out;
  for (const Order& order : {bySpeed(rates), byMemory(rates)}) {
    const Order chosen(order.begin(), order.begin() + used);
    for (const Order& each : ordersOf(rates, chosen)) {
      if (is_grid) out.add(arrange(each, std::vector<int>(static_cast<size_t>(stages), strategy.tp)));
      else for (const std::vector<int>& sizes : evenSizes(used, stages)) out.add(arrange(each, sizes));
    }
  }
  return std::move(out).take();
}

namespace {

/// The furthest end such that units [begin, end) take at most `seconds` and fit; `begin` if not even one does. Time and
/// memory grow with every unit, so a binary search finds it.
int furthest(const CostModel& model, const Group& group, int begin, int last, double seconds, MemoryLimit limit) {
  int low = begin, high = last;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    const std::optional<StageCost> cost = model.stage(group, begin, middle, limit);
    if (cost && cost->decode_s <= seconds) low = middle;
    else high = middle - 1;
  }
  return low;
}

std::optional<std::vector<int>> greedyCuts(const CostModel& model, const std::vector<Group>& groups, double seconds, MemoryLimit limit) {
  std::vector<int> cuts = {0};
  const int units = model.numUnits(), stages = static_cast<int>(groups.size());
  for (int s = 0; s < stages; ++s) {
    const int last = units - (stages - 1 - s);  // every later stage needs one
    const int end = furthest(model, groups[static_cast<size_t>(s)], cuts.back(), last, seconds, limit);
    if (end == cuts.back()) return std::nullopt;
    cuts.push_back(end);
  }
  if (cuts.back() < units) return std::nullopt;
  return cuts;
}

double slowestStage(const CostModel& model, const std::vector<Group>& groups, const std::vector<int>& cuts, MemoryLimit limit) {
  double slowest = 0;
  for (size_t s = 0; s < groups.size(); ++s) slowest = std::max(slowest, model.stage(groups[s], cuts[s], cuts[s + 1], limit)->decode_s);
  return slowest;
}

}  // namespace

std::optional<std::vector<int>> cutUnits(const CostModel& model, const std::vector<Group>& groups, Cut cut, MemoryLimit limit) {
  std::optional<std::vector<int>> best = greedyCuts(model, groups, std::numeric_limits<double>::infinity(), limit);
  if (!best || cut == Cut::kFill || groups.size() == 1) return best;
  double high = slowestStage(model, groups, *best, limit), low = 0;
  for (int i = 0; i < 40 && high - low > 1e-3 * high; ++i) {
    const double middle = (low + high) / 2;
    const auto cuts = greedyCuts(model, groups, middle, limit);
    if (cuts) {
      best = cuts;
      high = slowestStage(model, groups, *cuts, limit);
    } else {
      low = middle;
    }
  }
  return best;
}

std::string nameOf(const Arrangement& arrangement, const Rates& rates) {
  std::string sizes, nodes;
  bool is_even = true;
  for (const auto& group : arrangement) {
    is_even &= group.size() == arrangement[0].size();
    sizes += (sizes.empty() ? "" : ",") + std::to_string(group.size());
    if (!nodes.empty()) nodes += " | ";
    for (size_t i = 0; i < group.size(); ++i) nodes += (i ? ", " : "") + rates.nodes[static_cast<size_t>(group[i])].name;
  }
  const std::string tp = is_even ? std::to_string(arrangement[0].size()) : "[" + sizes + "]", pp = std::to_string(arrangement.size());
  const bool is_one = arrangement.size() == 1;
  const std::string shape = is_one && arrangement[0].size() == 1 ? "one node" : is_one ? "tp" + tp : is_even && arrangement[0].size() == 1 ? "pp" + pp : "tp" + tp + "pp" + pp;
  return shape + " on " + nodes;
}

}  // namespace exo
