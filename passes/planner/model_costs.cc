#include "passes/planner/model_costs.h"

#include <algorithm>
#include <map>
#include <set>

namespace exo {
namespace {

/// How a stage's ranks hold a value.
struct Held {
  enum class Kind { kWhole, kSplit, kPartial } kind = Kind::kWhole;
  size_t dim = 0;  // of a split
};
using Kind = Held::Kind;

bool contains(const std::string& factors, char factor) { return factors.find(factor) != std::string::npos; }

class Accounting {
 public:
  Accounting(const Graph& graph, const CostRequest& request) : graph_(graph), request_(request), producer_(graph.producers()) {
    held_.resize(graph.values.size());
    must_be_whole_.resize(graph.values.size());
    const int64_t tokens = std::min({request.max_step_tokens, request.max_context, kPredictedPromptTokens});
    decode_ = {request.batch, request.batch, request.batch};
    prefill_ = {tokens, 1, 1};
    largest_ = {std::max(request.max_step_tokens, request.batch), request.batch, request.batch};
    costs_.batch = static_cast<double>(request.batch);
    costs_.prompt_tokens = static_cast<double>(std::min(request.max_context, kPredictedPromptTokens));
    costs_.prefill_chunks = costs_.prompt_tokens / static_cast<double>(tokens);
  }

  Result<ModelCosts> run() {
    findUnits();
    findConsumers();
    findHeadWeights();
    for (const Node& node : graph_.nodes) account(node);
    for (ValueId id : graph_.outputs) makeWhole(id, static_cast<int>(costs_.units.size()) - 1);
    attributeWeights();
    attributeHandedOn();
    measureActivations();
    return std::move(costs_);
  }

 private:
  const OpDef& definitionOf(const Node& node) const { return definition(node.op); }
  const Node* producerOf(ValueId id) const {
    const int at = producer_[static_cast<size_t>(id)];
    return at < 0 ? nullptr : &graph_.nodes[static_cast<size_t>(at)];
  }
  int unitOf(const Node& node) const { return unit_of_block_[static_cast<size_t>(node.block)]; }
  UnitCosts& unit(int index) { return costs_.units[static_cast<size_t>(index)]; }

  // A layer is a block that has a KV cache; other blocks go with the layer before them, the first ones with the first.
  void findUnits() {
    std::set<int> layers;
    for (const Node& node : graph_.nodes)
      if (node.op == Op::kKvAppend || node.op == Op::kAttention) layers.insert(node.block);
    const int num_blocks = static_cast<int>(graph_.blocks.size());
    if (layers.empty())
      for (int b = 0; b < num_blocks; ++b) layers.insert(b);
    for (int layer : layers) costs_.units.push_back({.first_block = costs_.units.empty() ? 0 : layer});
    for (size_t u = 0; u < costs_.units.size(); ++u)
      costs_.units[u].end_block = u + 1 < costs_.units.size() ? costs_.units[u + 1].first_block : num_blocks;
    for (size_t u = 0; u < costs_.units.size(); ++u)
      for (int b = costs_.units[u].first_block; b < costs_.units[u].end_block; ++b) unit_of_block_.push_back(static_cast<int>(u));
  }

  void findConsumers() {
    consumers_.resize(graph_.values.size());
    for (const Node& node : graph_.nodes)
      for (ValueId id : node.operands) consumers_[static_cast<size_t>(id)].push_back(&node);
  }

  // The projections in front of attention and the cache, through what works on each head by itself, and the one behind.
  void findHeadWeights() {
    for (const Node& node : graph_.nodes) {
      if (node.op != Op::kAttention && node.op != Op::kKvAppend) continue;
      for (ValueId id : node.operands) {
        const Node* maker = producerOf(id);
        const auto by_head = [&](const Node& made) { return definitionOf(made).has(kElementwise) || made.op == Op::kHeadMatMul; };
        while (maker && by_head(*maker) && !maker->operands.empty()) markWeights(*maker), maker = producerOf(maker->operands[0]);
        if (maker && maker->op == Op::kMatMul) markWeights(*maker);
      }
      if (node.op != Op::kAttention) continue;
      markReaders(node.results[0]);
    }
  }
  void markReaders(ValueId id) {
    for (const Node* reader : consumers_[static_cast<size_t>(id)]) {
      markWeights(*reader);
      if (reader->op == Op::kHeadMatMul) markReaders(reader->results[0]);
    }
  }
  void markWeights(const Node& node) {
    for (ValueId id : node.operands)
      if (graph_.isGlobal(id)) head_weights_.insert(id);
  }

  /// True if something that reads the value needs every column of it, so that splitting it would only cost a gather.
  bool mustBeWhole(ValueId id) const {
    char& known = must_be_whole_[static_cast<size_t>(id)];  // 0 unknown, 'n' no, 'y' yes
    if (known == 0) known = hasWholeReader(id) ? 'y' : 'n';
    return known == 'y';
  }

  bool hasWholeReader(ValueId id) const {
    for (const Node* node : consumers_[static_cast<size_t>(id)]) {
      const FactorMap map = factorsOf(*node);
      for (size_t o = 0; o < node->operands.size() && o < map.operands.size(); ++o) {
        if (node->operands[o] != id || map.operands[o].empty()) continue;
        const char last = map.operands[o].back();
        if (contains(map.whole, last)) return true;
        const bool passes = !map.results.empty() && contains(map.results[0], last) && definitionOf(*node).has(kElementwise);
        if (passes && mustBeWhole(node->results[0])) return true;
      }
    }
    return false;
  }

  FactorMap factorsOf(const Node& node) const { return static_cast<FactorsFn>(definitionOf(node).factors)(node.attrs, graph_.operandTypes(node)); }

  /// One collective makes all partial results of the value's producer whole.
  void makeWhole(ValueId id, int unit_index) {
    if (held_[static_cast<size_t>(id)].kind == Kind::kWhole) return;
    std::vector<ValueId> together = {id};
    if (const Node* node = producerOf(id); node && held_[static_cast<size_t>(id)].kind == Kind::kPartial) together = node->results;
    double decode = 0, prefill = 0, largest = 0;
    for (ValueId each : together) {
      const Type& type = graph_.value(each).type;
      decode += static_cast<double>(sizeBytes(type, decode_));
      prefill += static_cast<double>(sizeBytes(type, prefill_));
      largest += static_cast<double>(sizeBytes(type, largest_));
      held_[static_cast<size_t>(each)] = {};
    }
    unit(unit_index).decode.payloads.push_back(decode);
    unit(unit_index).prefill.payloads.push_back(prefill);
    costs_.largest_payload_bytes = std::max(costs_.largest_payload_bytes, largest);
  }

  bool isPartial(ValueId id) const { return held_[static_cast<size_t>(id)].kind == Kind::kPartial; }

  bool passesPartial(const Node& node, const FactorMap& map) const {
    return !map.linear.empty() && std::all_of(map.linear.begin(), map.linear.end(), [&](int o) { return isPartial(node.operands[static_cast<size_t>(o)]); });
  }

  /// The factor a node is split along once its operands are whole or split; 0 when every rank repeats it.
  char splitFactor(const Node& node, const FactorMap& map, int unit_index) {
    char factor = 0;
    for (size_t o = 0; o < node.operands.size() && o < map.operands.size(); ++o) {
      const Held held = held_[static_cast<size_t>(node.operands[o])];
      if (held.kind != Kind::kSplit) continue;
      const char own = held.dim < map.operands[o].size() ? map.operands[o][held.dim] : 0;
      if (own == 0 || contains(map.whole, own) || (factor != 0 && own != factor)) makeWhole(node.operands[o], unit_index);
      else factor = own;
    }
    return factor ? factor : newFactor(node, map);
  }

  /// A factor that only a weight brings in.
  char newFactor(const Node& node, const FactorMap& map) const {
    std::string met = map.whole;
    for (size_t o = 0; o < node.operands.size() && o < map.operands.size(); ++o)
      if (!graph_.isGlobal(node.operands[o])) met += map.operands[o];
    for (size_t o = 0; o < node.operands.size() && o < map.operands.size(); ++o) {
      const Node* source = producerOf(node.operands[o]);
      if (!source || source->op != Op::kWeight) continue;
      for (char factor : map.operands[o]) {
        if (contains(met, factor)) continue;
        const bool ends_here = map.results.empty() || !contains(map.results[0], factor);
        if (ends_here || !mustBeWhole(node.results[0])) return factor;
      }
    }
    return 0;
  }

  void account(const Node& node) {
    if (definitionOf(node).has(kSource)) return;
    const int unit_index = unitOf(node);
    const FactorMap map = factorsOf(node);
    const bool keeps_partial = passesPartial(node, map);
    for (ValueId id : node.operands)
      if (!keeps_partial && isPartial(id)) makeWhole(id, unit_index);
    const char factor = keeps_partial ? 0 : splitFactor(node, map, unit_index);
    for (size_t r = 0; r < node.results.size(); ++r) {
      Held& held = held_[static_cast<size_t>(node.results[r])];
      if (keeps_partial) held = {Kind::kPartial};
      else if (factor == 0) held = {};
      else if (const size_t dim = r < map.results.size() ? map.results[r].find(factor) : std::string::npos; dim != std::string::npos) held = {Kind::kSplit, dim};
      else held = {Kind::kPartial};
    }
    for (size_t o = 0; o < node.operands.size(); ++o)
      if (graph_.isGlobal(node.operands[o])) readGlobal(node.operands[o], unit_index, factor != 0 && o < map.operands.size() && contains(map.operands[o], factor));
    addWork(unit(unit_index).decode, node, decode_, cachePositions() / static_cast<double>(request_.batch), factor != 0);
    addWork(unit(unit_index).prefill, node, prefill_, costs_.prompt_tokens / 2, factor != 0);  // half the prompt lies before the average token
  }

  /// Every rank reads all of a latent cache, whatever share of the heads it has.
  void addWork(StepWork& step_work, const Node& node, StepSize step, double context, bool is_split) const {
    step_work.work.push_back(work(node, step, context, is_split));
    const auto* attention = std::get_if<AttentionAttrs>(&node.attrs);
    if (!attention || attention->value_dim == 0) return;
    const double bytes = graph_.cost(node, step).state_bytes * context * static_cast<double>(step.sequences);
    step_work.work.back().bytes -= bytes;
    step_work.work.push_back({.is_split = false, .bytes = bytes});
  }

  double cachePositions() const {
    return request_.cache_tokens > 0 ? static_cast<double>(request_.cache_tokens) : static_cast<double>(request_.max_context) * static_cast<double>(request_.batch);
  }

  Work work(const Node& node, StepSize step, double context, bool is_split) const {
    const Cost cost = graph_.cost(node, step);
    Work work{.is_split = is_split, .bytes = cost.activation_bytes, .ops = cost.flops};
    if (const auto* attention = std::get_if<AttentionAttrs>(&node.attrs)) {
      const double seen = attention->window > 0 ? std::min(context, static_cast<double>(attention->window)) : context;
      work.bytes += cost.state_bytes * seen * static_cast<double>(step.sequences);
      // q·K and p·V: a multiply and an add each, per element of the query and of the result and position seen.
      work.ops += 2.0 * static_cast<double>(elements(graph_.value(node.operands[0]).type, step) + elements(graph_.value(node.results[0]).type, step)) * seen;
    }
    double weight_bytes = cost.weight_bytes;
    for (ValueId id : node.operands) {
      if (const Node* source = producerOf(id); !source || source->op != Op::kWeight) continue;
      if (isBlocked(storedAs(graph_.value(id).type))) work.rate = Work::Rate::kInt8;
      weight_bytes *= storedBytes(graph_.value(id).type) / std::max(1.0, static_cast<double>(sizeBytes(graph_.value(id).type)));
    }
    work.bytes += weight_bytes;
    return work;
  }

  Encoding storedAs(const Type& type) const {
    const bool shrinks = request_.store_as && type.rank() >= 2 && bytesPerElement(*request_.store_as) < bytesPerElement(type.encoding);
    return shrinks ? *request_.store_as : type.encoding;
  }
  double storedBytes(const Type& type) const {
    const double bytes = static_cast<double>(sizeBytes(type));
    return storedAs(type) == type.encoding ? bytes : bytes * bytesPerElement(storedAs(type)) / bytesPerElement(type.encoding);
  }

  struct Reading {
    std::set<int> units;
    bool is_split = true;  // read whole by any op: whole on every rank
  };
  void readGlobal(ValueId id, int unit_index, bool is_split) {
    const auto [at, is_new] = readings_.try_emplace(id);
    at->second.units.insert(unit_index);
    at->second.is_split &= is_split;
  }

  /// Query heads that read a cache of latent vectors, and are split instead of KV heads; 0 for another cache.
  int64_t latentHeads(ValueId cache) const {
    for (const Node* append : consumers_[static_cast<size_t>(cache)]) {
      for (const Node* reader : consumers_[static_cast<size_t>(append->results[0])]) {
        const auto* attention = std::get_if<AttentionAttrs>(&reader->attrs);
        if (attention && attention->value_dim > 0) return std::max<int64_t>(1, graph_.value(reader->operands[0]).type.shape[1].size() / attention->head_dim);
      }
    }
    return 0;
  }

  void attributeWeights() {
    std::map<Encoding, double> bytes_of;
    costs_.kv_heads = 0;
    for (const auto& [id, reading] : readings_) {
      const Type& type = graph_.value(id).type;
      if (producerOf(id)->op == Op::kCache) {
        const Type row{type.encoding, {type.shape.begin() + 1, type.shape.end()}};
        const double bytes = static_cast<double>(sizeBytes(row)) * cachePositions();
        const int64_t latent_heads = latentHeads(id);
        (latent_heads > 0 ? unit(*reading.units.begin()).whole_kv_bytes : unit(*reading.units.begin()).kv_bytes) += bytes;
        const int64_t heads = latent_heads > 0 ? latent_heads : std::max<int64_t>(1, type.shape[2].size());
        costs_.kv_heads = costs_.kv_heads == 0 ? heads : std::min(costs_.kv_heads, heads);
        continue;
      }
      const double bytes = storedBytes(type);
      bytes_of[storedAs(type)] += bytes;
      for (int u : reading.units) (reading.is_split ? unit(u).split_weight_bytes : unit(u).whole_weight_bytes) += bytes;
      if (reading.is_split && head_weights_.contains(id)) unit(*reading.units.begin()).head_weight_bytes += bytes;
      if (reading.units.size() > 1) costs_.shared.push_back({{reading.units.begin(), reading.units.end()}, reading.is_split, bytes});
    }
    costs_.kv_heads = std::max<int64_t>(1, costs_.kv_heads);
    double most = -1;
    for (const auto& [encoding, bytes] : bytes_of)
      if (bytes > most) most = bytes, costs_.weights = encoding;
  }

  /// Last unit that reads each value.
  int lastUnit(ValueId id) const {
    int last = -1;
    for (const Node* node : consumers_[static_cast<size_t>(id)]) last = std::max(last, unitOf(*node));
    return last;
  }

  void attributeHandedOn() {
    for (ValueId id : graph_.outputs) costs_.returned_bytes += static_cast<double>(sizeBytes(graph_.value(id).type, decode_));
    costs_.returned_values = static_cast<int>(graph_.outputs.size());
    for (const Node& node : graph_.nodes) {
      if (definitionOf(node).has(kSource)) continue;
      for (ValueId id : node.results) {
        const Type& type = graph_.value(id).type;
        const int last = lastUnit(id);
        for (int u = unitOf(node); u < last; ++u) {
          ++unit(u).handed_on_values;
          unit(u).decode.handed_on_bytes += static_cast<double>(sizeBytes(type, decode_));
          unit(u).prefill.handed_on_bytes += static_cast<double>(sizeBytes(type, prefill_));
        }
        if (unitOf(node) < last) costs_.largest_payload_bytes = std::max(costs_.largest_payload_bytes, static_cast<double>(sizeBytes(type, largest_)));
      }
    }
  }

  // Sweeps the nodes in order; a value is alive from its node to its last reader. The most of split and of whole values
  // are taken apart, which is never too little.
  void measureActivations() {
    std::vector<int> last_use(graph_.values.size(), -1);
    for (size_t n = 0; n < graph_.nodes.size(); ++n)
      for (ValueId id : graph_.nodes[n].operands) last_use[static_cast<size_t>(id)] = static_cast<int>(n);
    for (ValueId id : graph_.outputs) last_use[static_cast<size_t>(id)] = static_cast<int>(graph_.nodes.size());
    std::vector<std::vector<ValueId>> dies(graph_.nodes.size() + 1);
    double split = 0, whole = 0;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (definitionOf(node).has(kGlobal)) continue;
      for (ValueId id : node.results) {
        if (node.op == Op::kKvAppend) continue;  // the cache itself
        (held_[static_cast<size_t>(id)].kind == Kind::kSplit ? split : whole) += static_cast<double>(sizeBytes(graph_.value(id).type, largest_));
        dies[static_cast<size_t>(std::max(static_cast<int>(n), last_use[static_cast<size_t>(id)]))].push_back(id);
      }
      costs_.split_activation_bytes = std::max(costs_.split_activation_bytes, split);
      costs_.whole_activation_bytes = std::max(costs_.whole_activation_bytes, whole);
      for (ValueId id : dies[n]) (held_[static_cast<size_t>(id)].kind == Kind::kSplit ? split : whole) -= static_cast<double>(sizeBytes(graph_.value(id).type, largest_));
    }
  }

  const Graph& graph_;
  const CostRequest request_;
  const std::vector<int> producer_;
  std::vector<std::vector<const Node*>> consumers_;
  std::vector<Held> held_;
  mutable std::vector<char> must_be_whole_;  // memo of mustBeWhole
  std::vector<int> unit_of_block_;
  std::map<ValueId, Reading> readings_;
  std::set<ValueId> head_weights_;
  StepSize decode_, prefill_, largest_;
  ModelCosts costs_;
};

}  // namespace

Result<ModelCosts> modelCosts(const Graph& graph, const CostRequest& request) {
  if (graph.blocks.empty() || graph.nodes.empty()) return invalid("planner: graph @", graph.name, " is empty");
  constexpr int64_t kMost = int64_t{1} << 40;
  for (const auto& [what, value] : {std::pair("max_context", request.max_context), std::pair("max_step_tokens", request.max_step_tokens), std::pair("batch", request.batch)})
    if (value < 1 || value > kMost) return invalid("planner: ", what, " must be from 1 to ", kMost, ", got ", value);
  if (request.cache_tokens != 0 && (request.cache_tokens < request.max_context || (request.cache_tokens - 1) / request.batch >= request.max_context))
    return invalid("planner: cache_tokens must be at least max_context, ", request.max_context, ", and at most that for each of ", request.batch, " sequences, got ", request.cache_tokens);
  return Accounting(graph, request).run();
}

}  // namespace exo
