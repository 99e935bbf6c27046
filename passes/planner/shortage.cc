#include "passes/planner/shortage.h"

#include <algorithm>
#include <cmath>

#include "passes/planner/evaluation.h"

namespace exo {
namespace {

class Shortage {
 public:
  Shortage(const CostModelInputs& inputs, const CostModel& model, const std::vector<Arrangement>& tried)
      : inputs_(inputs), model_(model), tried_(tried), reserve_(inputs.request.memory_reserve_gib * kGiB) {}

  Error explain() const {
    const MemoryUse needs = wholeModel();
    const std::vector<int> nodes = mostNodes();
    double usable = 0;
    for (int node : nodes) usable += model_.usableBytes(node);
    std::ostringstream text;
    text << "the model does not fit: it needs " << bytesText(needs.total()) << " (weights " << bytesText(needs.weights) << ", KV cache "
         << bytesText(needs.kv) << " at " << inputs_.request.max_context << " tokens" << cacheText()
         << ", activations " << bytesText(needs.activations) << ", and communication buffers); the " << nodes.size() << (nodes.size() == 1 ? " node has " : " nodes have ")
         << bytesText(usable) << " for it" << (reserve_ > 0 ? " (" + bytesText(reserve_) + " of each kept free)" : "");
    const std::optional<Shortfall> lacking = leastBad();
    if (lacking) text << "\n  shortest: node \"" << nodeName(lacking->node) << "\" would need " << bytesText(lacking->needed) << " of its "
                      << bytesText(lacking->usable) << ": " << bytesText(lacking->needed - lacking->usable) << " too much";
    for (const std::string& remedy : remedies(lacking)) text << "\n  would fit: " << remedy;
    return Error(ErrorCode::kDoesNotFit, text.str(), ErrorScope::kJob);
  }

 private:
  std::string cacheText() const {
    const PlanRequest& request = inputs_.request;
    if (request.cache_tokens > 0) return ", for " + std::to_string(request.cache_tokens) + " in all";
    return request.batch > 1 ? " x " + std::to_string(request.batch) + " sequences" : "";
  }
  const std::string& nodeName(int node) const { return model_.rates().nodes[static_cast<size_t>(node)].name; }

  /// On one node without limits.
  MemoryUse wholeModel() const { return model_.memory(model_.group({0}), 0, model_.numUnits(), 1); }

  std::vector<int> mostNodes() const {
    std::vector<int> most;
    for (const Arrangement& arrangement : tried_) {
      std::vector<int> nodes;
      for (const auto& group : arrangement) nodes.insert(nodes.end(), group.begin(), group.end());
      if (nodes.size() > most.size()) most = nodes;
    }
    return most;
  }

  /// Of the arrangements that use most nodes, the one that lacks least on its worst node.
  std::optional<Shortfall> leastBad() const {
    constexpr size_t kMostLookedAt = 64;
    const size_t most = mostNodes().size();
    std::optional<Shortfall> least;
    size_t looked_at = 0;
    for (const Arrangement& arrangement : tried_) {
      size_t used = 0;
      for (const auto& group : arrangement) used += group.size();
      if (used < most || looked_at++ >= kMostLookedAt) continue;
      const auto evaluation = evaluate(model_, arrangement, Cut::kBalanced, MemoryLimit::kIgnore);
      const auto own = evaluation ? worstShortfall(model_, *evaluation) : std::nullopt;
      if (own && (!least || own->needed - own->usable < least->needed - least->usable)) least = own;
    }
    return least;
  }

  bool anyFits(const CostModel& model) const {
    return std::any_of(tried_.begin(), tried_.end(), [&](const Arrangement& arrangement) { return fits(model, arrangement); });
  }

  bool fitsWith(const CostRequest& request) const {
    Result<ModelCosts> costs = modelCosts(inputs_.graph, request);
    return costs.ok() && anyFits(CostModel(std::move(costs).value(), model_.rates(), reserve_));
  }

  CostRequest costRequest() const { return {inputs_.request.max_context, inputs_.request.max_step_tokens, inputs_.request.batch, inputs_.request.cache_tokens}; }

  /// In steps of 256 tokens (of 1 below that); 0 if none fits.
  int64_t largestContext() const {
    const int64_t step = inputs_.request.max_context > 256 ? 256 : 1;
    int64_t low = 0, high = (inputs_.request.max_context - 1) / step;  // low fits, everything above high does not
    while (low < high) {
      const int64_t middle = low + (high - low + 1) / 2;
      CostRequest request = costRequest();
      request.max_context = middle * step;
      if (request.cache_tokens > 0) request.cache_tokens = std::min(request.cache_tokens, request.max_context * request.batch);
      if (fitsWith(request)) low = middle;
      else high = middle - 1;
    }
    return low * step;
  }

  std::optional<Encoding> largestEncoding() const {
    for (Encoding encoding : {Encoding::kBF16, Encoding::kW8, Encoding::kW4}) {
      if (bytesPerElement(encoding) >= bytesPerElement(model_.model().weights)) continue;
      CostRequest request = costRequest();
      request.store_as = encoding;
      if (fitsWith(request)) return encoding;
    }
    return std::nullopt;
  }

  /// Bytes more that would do, on one node or on every one; nothing if not even the whole model's size does.
  std::optional<double> moreMemory(const std::vector<int>& nodes) const {
    const auto enough = [&](double more) {
      Rates rates = model_.rates();
      for (int node : nodes) rates.nodes[static_cast<size_t>(node)].memory_bytes += more;
      return anyFits(CostModel(model_.model(), rates, reserve_));
    };
    double low = 0, high = wholeModel().total() * 2 + reserve_;
    if (!enough(high)) return std::nullopt;
    while (high - low > 0.005 * high) {
      const double middle = (low + high) / 2;
      (enough(middle) ? high : low) = middle;
    }
    return high;
  }

  std::vector<std::string> remedies(const std::optional<Shortfall>& lacking) const {
    std::vector<std::string> out;
    if (const int64_t context = largestContext(); context > 0) out.push_back("a context of " + std::to_string(context) + " tokens instead of " + std::to_string(inputs_.request.max_context));
    if (const auto encoding = largestEncoding()) out.push_back(std::string(name(*encoding)) + " weights instead of " + std::string(name(model_.model().weights)));
    if (!lacking) return out;
    const std::vector<int> all = mostNodes();
    if (const auto more = moreMemory({lacking->node})) out.push_back(bytesText(*more) + " more memory on \"" + nodeName(lacking->node) + "\"");
    if (const auto each = all.size() > 1 ? moreMemory(all) : std::nullopt) out.push_back(bytesText(*each) + " more memory on every node");
    return out;
  }

  const CostModelInputs& inputs_;
  const CostModel& model_;
  const std::vector<Arrangement>& tried_;
  double reserve_;
};

}  // namespace

Error explainShortage(const CostModelInputs& inputs, const CostModel& model, const std::vector<Arrangement>& tried) {
  return Shortage(inputs, model, tried).explain();
}

}  // namespace exo
