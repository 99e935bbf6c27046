#include "passes/planner/planner.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <set>

#include "passes/planner/candidates.h"
#include "passes/planner/evaluation.h"
#include "passes/planner/shortage.h"

namespace exo {

namespace {

/// "12" at the start of `text`, from 1 to 1024; nothing otherwise. Eats what it reads.
std::optional<int> takeCount(std::string_view& text) {
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || count < 1 || count > 1024) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return count;
}

bool takeWord(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

}  // namespace

Result<Strategy> parseStrategy(std::string_view text) {
  using K = Strategy::Kind;
  if (text == "auto") return Strategy{K::kAuto};
  if (text == "tp") return Strategy{K::kTensorParallel};
  if (text == "pp") return Strategy{K::kPipeline};
  Strategy strategy{K::kGrid};
  std::string_view rest = text;
  std::optional<int> tp, pp;
  bool is_good = !text.empty();
  if (takeWord(rest, "tp")) is_good = (tp = takeCount(rest)).has_value();
  if (is_good && takeWord(rest, "pp")) is_good = (pp = takeCount(rest)).has_value();
  if (!is_good || !rest.empty())
    return invalid("--strategy: expected auto, tp, pp, or like tp4, pp2 and tp2pp3 (counts from 1 to 1024), got \"", text.substr(0, 64), "\"");
  strategy.tp = tp.value_or(1);
  strategy.pp = pp.value_or(1);
  return strategy;
}

Result<WireChoice> parseWireChoice(std::string_view text) {
  if (text == "f32") return WireChoice::kF32;
  if (text == "bf16") return WireChoice::kBf16;
  if (text == "auto") return WireChoice::kAuto;
  return invalid("--wire: expected f32, bf16 or auto, got \"", text.substr(0, 64), "\"");
}

std::string toString(const Strategy& strategy) {
  switch (strategy.kind) {
    case Strategy::Kind::kAuto: return "auto";
    case Strategy::Kind::kTensorParallel: return "tp";
    case Strategy::Kind::kPipeline: return "pp";
    case Strategy::Kind::kGrid: break;
  }
  return "tp" + std::to_string(strategy.tp) + "pp" + std::to_string(strategy.pp);
}

std::string bytesText(double bytes) {
  std::ostringstream out;
  if (!std::isfinite(bytes)) return "unlimited";
  if (bytes >= kGiB) out << std::fixed << std::setprecision(bytes < 100 * kGiB ? 2 : 0) << bytes / kGiB << " GiB";
  else if (bytes >= 1024 * 1024) out << std::fixed << std::setprecision(bytes < 100 * 1024 * 1024 ? 1 : 0) << bytes / (1024 * 1024) << " MiB";
  else if (bytes >= 1024) out << std::fixed << std::setprecision(1) << bytes / 1024 << " KiB";
  else out << std::fixed << std::setprecision(0) << bytes << " B";
  return out.str();
}

namespace {

std::string milliseconds(double seconds) {
  std::ostringstream out;
  out << std::setprecision(3) << std::fixed << seconds * 1e3 << " ms";
  return out.str();
}

size_t numNodes(const Arrangement& arrangement) {
  size_t nodes = 0;
  for (const auto& group : arrangement) nodes += group.size();
  return nodes;
}

/// A rank that gets next to nothing only adds a message to every collective.
bool hasIdleRank(const Evaluation& evaluation) {
  constexpr double kNothing = 1e-3;
  for (const StageCost& stage : evaluation.stages)
    for (double share : stage.shares)
      if (share < kNothing) return true;
  return false;
}

class Planning {
 public:
  Planning(const CostModel& model, const PlanRequest& request) : model_(model), request_(request) {}

  void evaluateAll(const std::vector<Arrangement>& tried) {
    const bool is_auto = request_.strategy.kind == Strategy::Kind::kAuto;
    for (const Arrangement& arrangement : tried) {
      std::optional<Evaluation> best = evaluate(model_, arrangement, Cut::kBalanced, MemoryLimit::kRespect);
      if (best && is_auto && arrangement.size() > 1) {
        std::optional<Evaluation> filled = evaluate(model_, arrangement, Cut::kFill, MemoryLimit::kRespect);
        if (filled && filled->seconds_per_token < best->seconds_per_token * (1 - kAlike)) best = std::move(filled);
      }
      if (!best) unfit_.push_back(&arrangement);
      else if (!is_auto || !hasIdleRank(*best)) fitting_.push_back(std::move(*best));
    }
  }

  bool hasFound() const { return !fitting_.empty(); }

  PlannerResult choose(std::vector<std::string> notes) {
    std::stable_sort(fitting_.begin(), fitting_.end(), [](const Evaluation& a, const Evaluation& b) { return a.seconds_per_token < b.seconds_per_token; });
    const size_t chosen = bestIndex();
    const Evaluation& best = fitting_[chosen];
    PlannerResult result{.name = nameOf(best.arrangement, model_.rates()), .prediction = predict(model_, best), .request = request_};
    for (size_t s = 0; s < best.groups.size(); ++s) {
      const auto& units = model_.model().units;
      result.plan.stages.push_back({best.groups[s].nodes, units[static_cast<size_t>(best.cuts[s])].first_block,
                                    units[static_cast<size_t>(best.cuts[s + 1] - 1)].end_block, best.stages[s].shares});
    }
    result.plan.notes = std::move(notes);
    for (const Group& group : best.groups) result.reduces.push_back(reduceOf(group));
    chooseWire(best, result);
    noteLeftOut(best, result.plan.notes);
    noteKvHeads(best, result.plan.notes);
    result.alternatives = losers(chosen, result.name);
    return result;
  }

 private:
  static StageReduce reduceOf(const Group& group) {
    using enum ReduceTime::Source;
    if (group.nodes.size() < 2) return {};
    const ReduceTime::Source source = group.reduce.source();
    const char* const from = group.nodes.size() == 2 ? "two ranks have no choice" : source == kMeasured ? "measured" : source == kPredicted ? "reckoned from the links" : "by default";
    return {source == kDefault ? std::vector<ReduceStep>{} : group.reduce.steps(), stepsText(group.reduce.steps()) + " (" + from + ")"};
  }

  /// bf16 changes prefill only, so that the arrangement chosen for decode stays.
  void chooseWire(const Evaluation& best, PlannerResult& result) const {
    constexpr double kWorthwhile = 0.98;
    if (request_.wire == WireChoice::kF32) return;
    const CostModel rounding = model_.withBf16();
    const std::optional<Evaluation> rounded = evaluate(rounding, best.arrangement, Cut::kBalanced, MemoryLimit::kIgnore);
    const double before_s = result.prediction.seconds_to_first_token;
    // The cuts may differ from those of `best` (filled instead of balanced): both are taken from one.
    const std::optional<Evaluation> plain = evaluate(model_, best.arrangement, Cut::kBalanced, MemoryLimit::kIgnore);
    const double ratio = rounded && plain ? rounded->seconds_to_first_token / plain->seconds_to_first_token : 1;
    const std::string figures = milliseconds(before_s * ratio) + " to the first token against " + milliseconds(before_s);
    if (request_.wire == WireChoice::kAuto && ratio > kWorthwhile) {
      result.plan.notes.push_back("all_reduce stays in f32: bf16 on the wire would take " + figures);
      return;
    }
    result.bf16_above_bytes = static_cast<uint64_t>(rounding.bf16AboveBytes());
    result.prediction.seconds_to_first_token *= ratio;
    result.plan.notes.push_back("all_reduce of more than " + bytesText(rounding.bf16AboveBytes()) + " travels as bf16: " + figures + "; answers may differ from one node's");
  }

  static constexpr double kAlike = 0.01;  // times closer than this are a draw: no prediction is that good

  /// The fitting ones are sorted by time per token.
  size_t bestIndex() const {
    const auto key = [&](size_t i) { return std::tuple(fitting_[i].seconds_to_first_token, numNodes(fitting_[i].arrangement)); };
    size_t best = 0;
    for (size_t i = 1; i < fitting_.size() && fitting_[i].seconds_per_token <= fitting_[0].seconds_per_token * (1 + kAlike); ++i) {
      const bool is_alike = std::abs(std::get<0>(key(i)) - std::get<0>(key(best))) <= kAlike * std::get<0>(key(best));
      if (is_alike ? std::get<1>(key(i)) < std::get<1>(key(best)) : key(i) < key(best)) best = i;
    }
    return best;
  }

  void noteLeftOut(const Evaluation& best, std::vector<std::string>& notes) const {
    std::set<int> used;
    for (const auto& group : best.arrangement) used.insert(group.begin(), group.end());
    std::string names;
    for (size_t i = 0; i < model_.rates().nodes.size(); ++i)
      if (!used.contains(static_cast<int>(i))) names += (names.empty() ? "" : ", ") + model_.rates().nodes[i].name;
    if (names.empty()) return;
    const bool is_auto = request_.strategy.kind == Strategy::Kind::kAuto;
    notes.push_back("left out: " + names + (is_auto ? " (the plan is no better with them)" : " (strategy " + toString(request_.strategy) + " uses " + std::to_string(used.size()) + " nodes)"));
  }

  void noteKvHeads(const Evaluation& best, std::vector<std::string>& notes) const {
    for (const auto& group : best.arrangement) {
      if (static_cast<int64_t>(group.size()) <= model_.model().kv_heads) continue;
      notes.push_back("a stage of " + std::to_string(group.size()) + " ranks shares " + std::to_string(model_.model().kv_heads) +
                      " KV heads: some are kept by more than one rank");
      return;
    }
  }

  std::vector<Alternative> losers(size_t chosen, const std::string& chosen_name) const {
    constexpr size_t kMostFitting = 8, kMostUnfit = 4;
    std::vector<Alternative> out;
    std::set<std::string> seen = {chosen_name};
    const Evaluation& best = fitting_[chosen];
    for (const Evaluation& e : fitting_) {
      if (out.size() == kMostFitting) break;
      if (&e == &best || !seen.insert(nameOf(e.arrangement, model_.rates())).second) continue;
      out.push_back({nameOf(e.arrangement, model_.rates()), true, e.seconds_per_token, e.seconds_to_first_token, whyNot(e, best)});
    }
    size_t unfit = 0;
    for (const Arrangement* arrangement : unfit_) {
      const std::string name = nameOf(*arrangement, model_.rates());
      if (unfit == kMostUnfit || !seen.insert(name).second) continue;
      const auto e = evaluate(model_, *arrangement, Cut::kBalanced, MemoryLimit::kIgnore);
      const auto lacking = e ? worstShortfall(model_, *e) : std::nullopt;
      if (!lacking) continue;
      ++unfit;
      out.push_back({name, false, e->seconds_per_token, e->seconds_to_first_token,
                     "does not fit: " + bytesText(lacking->needed - lacking->usable) + " too much on " + model_.rates().nodes[static_cast<size_t>(lacking->node)].name});
    }
    return out;
  }

  static std::string whyNot(const Evaluation& e, const Evaluation& best) {
    const std::string figures = milliseconds(e.seconds_per_token) + " per token against " + milliseconds(best.seconds_per_token);
    if (e.seconds_per_token > best.seconds_per_token * (1 + kAlike)) return "slower: " + figures;
    if (e.seconds_to_first_token > best.seconds_to_first_token * (1 + kAlike))
      return "as quick per token, later first token: " + milliseconds(e.seconds_to_first_token) + " against " + milliseconds(best.seconds_to_first_token);
    return "no quicker: " + figures;
  }

  const CostModel& model_;
  const PlanRequest& request_;
  std::vector<Evaluation> fitting_;
  std::vector<const Arrangement*> unfit_;
};

}  // namespace

Result<PlannerResult> makePlan(const Graph& global, const Topology& topology, const PlanRequest& request) {
  if (topology.nodes.empty()) return invalid("planner: the topology has no nodes");
  if (!std::isfinite(request.memory_reserve_gib) || request.memory_reserve_gib < 0)
    return invalid("planner: memory reserve must not be negative, got ", request.memory_reserve_gib, " GiB");
  EXO_ASSIGN(Rates rates, resolveRates(topology));
  EXO_ASSIGN(ModelCosts costs, modelCosts(global, {request.max_context, request.max_step_tokens, request.batch, request.cache_tokens}));
  std::vector<std::string> notes = rates.notes;
  EXO_ASSIGN(const std::vector<Arrangement> tried, arrangements(rates, request.strategy, static_cast<int>(costs.units.size()), notes));
  const CostModel model(std::move(costs), std::move(rates), request.memory_reserve_gib * kGiB);
  Planning planning(model, request);
  planning.evaluateAll(tried);
  if (!planning.hasFound()) return explainShortage({global, topology, request}, model, tried);
  return planning.choose(std::move(notes));
}

}  // namespace exo
