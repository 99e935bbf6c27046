#include "passes/planner/cost_model.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace exo {
namespace {

const StepWork& workOf(const UnitCosts& unit, Phase phase) { return phase == Phase::kDecode ? unit.decode : unit.prefill; }

double secondsOf(const Work& work, const NodeRates& node) {
  const double ops_per_s = work.rate == Work::Rate::kInt8 ? node.int8_ops_per_s : node.f32_flops_per_s;
  return std::max(work.bytes / node.read_bytes_per_s, work.ops / ops_per_s);
}

template <class Of>
std::vector<double> runningSum(const std::vector<UnitCosts>& units, Of of) {
  std::vector<double> sums = {0};
  for (const UnitCosts& unit : units) sums.push_back(sums.back() + of(unit));
  return sums;
}

double between(const std::vector<double>& sums, int begin, int end) { return sums[static_cast<size_t>(end)] - sums[static_cast<size_t>(begin)]; }

/// Bytes of shared weights that units [begin, end) counted more than once.
double countedTwice(const ModelCosts& model, int begin, int end, bool is_split) {
  double bytes = 0;
  for (const SharedWeight& weight : model.shared) {
    if (weight.is_split != is_split) continue;
    const auto inside = std::count_if(weight.units.begin(), weight.units.end(), [&](int u) { return u >= begin && u < end; });
    if (inside > 1) bytes += weight.bytes * static_cast<double>(inside - 1);
  }
  return bytes;
}

}  // namespace

CostModel::CostModel(ModelCosts model, Rates rates, double reserve_bytes)
    : model_(std::move(model)), rates_(std::move(rates)), reserve_bytes_(reserve_bytes) {
  split_weights_ = runningSum(model_.units, [](const UnitCosts& unit) { return unit.split_weight_bytes; });
  whole_weights_ = runningSum(model_.units, [](const UnitCosts& unit) { return unit.whole_weight_bytes; });
  head_weights_ = runningSum(model_.units, [](const UnitCosts& unit) { return unit.head_weight_bytes; });
  kv_ = runningSum(model_.units, [](const UnitCosts& unit) { return unit.kv_bytes; });
  whole_kv_ = runningSum(model_.units, [](const UnitCosts& unit) { return unit.whole_kv_bytes; });
  std::map<std::tuple<double, double, double>, NodeTimes> known;  // equal nodes are common
  for (size_t i = 0; i < rates_.nodes.size(); ++i) {
    const NodeRates& node = rates_.nodes[i];
    const auto [at, is_new] = known.try_emplace({node.read_bytes_per_s, node.f32_flops_per_s, node.int8_ops_per_s});
    if (is_new) at->second = {prefix(static_cast<int>(i), Phase::kDecode), prefix(static_cast<int>(i), Phase::kPrefill)};
    times_.push_back(at->second);
  }
}

std::vector<CostModel::Seconds> CostModel::prefix(int node, Phase phase) const {
  std::vector<Seconds> sums = {{}};
  for (const UnitCosts& unit : model_.units) {
    Seconds sum = sums.back();
    for (const Work& work : workOf(unit, phase).work) (work.is_split ? sum.split : sum.whole) += secondsOf(work, rates_.nodes[static_cast<size_t>(node)]);
    sums.push_back(sum);
  }
  return sums;
}

double CostModel::usableBytes(int node) const { return std::max(0.0, rates_.nodes[static_cast<size_t>(node)].memory_bytes - reserve_bytes_); }

Group CostModel::group(std::vector<int> nodes) const {
  Group group{.nodes = std::move(nodes)};
  group.reduce = ReduceTime(rates_, group.nodes);
  const auto comm = [&](Phase phase) {
    return runningSum(model_.units, [&](const UnitCosts& unit) {
      double seconds = 0;
      for (double payload : workOf(unit, phase).payloads) seconds += collectiveSeconds(group, payload);
      return seconds;
    });
  };
  group.decode_comm_s = comm(Phase::kDecode);
  group.prefill_comm_s = comm(Phase::kPrefill);
  return group;
}

double CostModel::collectiveSeconds(const Group& group, double payload) const {
  if (payload <= bf16_above_bytes_ || group.nodes.size() < 2) return group.reduce.seconds(payload);
  // f32 is read and bf16 written, then the other way round.
  double read = std::numeric_limits<double>::infinity();
  for (const int node : group.nodes) read = std::min(read, rates_.nodes[static_cast<size_t>(node)].read_bytes_per_s);
  return group.reduce.directSeconds(payload / 2) + 3 * payload / read;
}

CostModel CostModel::withBf16() const {
  CostModel out = *this;
  out.bf16_above_bytes_ = 64 * 1024;
  for (const UnitCosts& unit : model_.units)
    for (const double payload : unit.decode.payloads) out.bf16_above_bytes_ = std::max(out.bf16_above_bytes_, payload);
  return out;
}

double CostModel::transferSeconds(const Group& from, const Group& to, double payload) const {
  double slowest = 0;
  for (size_t i = 0; i < from.nodes.size(); ++i) {
    double first = 0, seconds = 0;  // of a receiver: the sender's other messages go before it
    for (size_t j = i; j < to.nodes.size(); j += from.nodes.size()) {
      const LinkRates& link = rates_.link(from.nodes[i], to.nodes[j]);
      first = std::max(first, link.seconds(payload) - payload / link.bytes_per_s);
      seconds += payload / link.bytes_per_s;
    }
    slowest = std::max(slowest, first + seconds);
  }
  return slowest;
}

double CostModel::headFraction(const Group& group, double heads_kept) const {
  const double heads = static_cast<double>(model_.kv_heads);
  const bool straddles = static_cast<double>(group.nodes.size()) > heads && heads_kept > 0;
  return std::min(1.0, (heads_kept + (straddles ? 1 : 0)) / heads);
}

/// Weights that come in whole KV heads. With more ranks than KV heads most of them are split finer, in proportion.
double CostModel::headBytes(const Group& group, int begin, int end) const {
  return static_cast<int64_t>(group.nodes.size()) > model_.kv_heads ? 0 : between(head_weights_, begin, end);
}

MemoryUse CostModel::memory(const Group& group, int begin, int end, double share) const {
  const double n = static_cast<double>(group.nodes.size()), slots = n > 1 ? n : 0;
  const bool has_transfer = begin > 0 || end < numUnits();
  const double by_head = headBytes(group, begin, end);
  const double of_heads = headFraction(group, std::ceil(share * static_cast<double>(model_.kv_heads) - 1e-9));
  MemoryUse use;
  use.weights = between(whole_weights_, begin, end) - countedTwice(model_, begin, end, false) + of_heads * by_head +
                share * (between(split_weights_, begin, end) - by_head - countedTwice(model_, begin, end, true));
  use.kv = of_heads * between(kv_, begin, end) + between(whole_kv_, begin, end);
  use.activations = model_.whole_activation_bytes + share * model_.split_activation_bytes;
  use.communication = 2 * (slots + (has_transfer ? 1 : 0)) * model_.largest_payload_bytes;
  return use;
}

// The KV cache and attention's weights grow in steps of a head, the rest in proportion to the share: for each number of
// heads, from the most, the largest share that keeps no more than these and fits.
double CostModel::largestShare(const Group& group, int begin, int end, int node) const {
  const double usable = usableBytes(node);
  if (memory(group, begin, end, 1).total() <= usable) return 1;
  if (group.nodes.size() == 1) return 0;
  const double none = memory(group, begin, end, 0).total(), all = memory(group, begin, end, 1).total();
  const double by_head = headBytes(group, begin, end) + between(kv_, begin, end), in_proportion = all - none - by_head;
  const double heads = static_cast<double>(model_.kv_heads);
  for (double kept = heads; kept >= 1; --kept) {
    const double room = usable - none - by_head * headFraction(group, kept);
    const double share = in_proportion > 0 ? std::min(kept / heads, room / in_proportion) : (room >= 0 ? kept / heads : -1);
    if (share > (kept - 1) / heads) return share * (1 - 1e-12);
  }
  return 0;
}

std::optional<StageCost> CostModel::stage(const Group& group, int begin, int end, MemoryLimit limit) const {
  std::vector<RankLoad> loads;
  for (int node : group.nodes) {
    const std::vector<Seconds>& sums = times_[static_cast<size_t>(node)].decode;
    const Seconds &low = sums[static_cast<size_t>(begin)], &high = sums[static_cast<size_t>(end)];
    loads.push_back({high.whole - low.whole, high.split - low.split, limit == MemoryLimit::kIgnore ? 1 : largestShare(group, begin, end, node)});
    // A rank without a share still repeats the whole work, so even that must fit.
    if (limit == MemoryLimit::kRespect && loads.back().cap <= 0 && memory(group, begin, end, 0).total() > usableBytes(node)) return std::nullopt;
  }
  std::optional<Shares> shares = balanceShares(loads);
  if (!shares) return std::nullopt;
  StageCost cost{.shares = std::move(shares->shares)};
  for (size_t i = 0; i < loads.size(); ++i) cost.busy_s.push_back(loads[i].fixed_s + cost.shares[i] * loads[i].slope_s);
  cost.decode_comm_s = between(group.decode_comm_s, begin, end);
  cost.decode_s = shares->seconds + cost.decode_comm_s;
  return cost;
}

double CostModel::prefillSeconds(const Group& group, int begin, int end, const std::vector<double>& shares) const {
  double slowest = 0;
  for (size_t i = 0; i < group.nodes.size(); ++i) {
    const std::vector<Seconds>& sums = times_[static_cast<size_t>(group.nodes[i])].prefill;
    const Seconds &low = sums[static_cast<size_t>(begin)], &high = sums[static_cast<size_t>(end)];
    slowest = std::max(slowest, high.whole - low.whole + shares[i] * (high.split - low.split));
  }
  return slowest + between(group.prefill_comm_s, begin, end);
}

}  // namespace exo
