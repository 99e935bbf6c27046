#include "ir/interpreter.h"

#include <algorithm>
#include <limits>

#include "ir/text.h"
#include "ir/verify.h"

namespace exo {

namespace {

using Values = std::vector<Tensor>;  // of one rank, by ValueId

Tensor zeros(const Type& type, StepSize size) {
  Tensor tensor;
  for (Dim dim : type.shape) tensor.shape.push_back(dim.at(size.tokens, size.sequences, size.rows));
  const size_t count = static_cast<size_t>(elements(type, size));
  if (type.encoding == Encoding::kI32) tensor.i.resize(count);
  else tensor.f.resize(count);
  return tensor;
}

/// One rank's progress through its graph.
struct RankState {
  const Graph* graph;
  Values values;
  size_t next = 0;  // node
  bool done() const { return next == graph->nodes.size(); }
  const Node& node() const { return graph->nodes[next]; }
  Tensor& at(ValueId id) { return values[static_cast<size_t>(id)]; }
};

class StepRun {
 public:
  StepRun(const Module& module, const InterpreterStep& step, const WeightFn& weights, int64_t max_context, std::vector<std::map<std::string, Tensor>>& globals)
      : step_(step), weights_(weights), eval_{max_context, step.sequence}, globals_(globals) {
    size_.tokens = static_cast<int64_t>(step.tokens.size());
    size_.rows = static_cast<int64_t>(step.rows.size());
    for (const Graph& graph : module.graphs) ranks_.push_back({&graph, Values(graph.values.size()), 0});
  }

  /// Runs every rank as far as it goes, meets the collectives, until all are done; no progress is a deadlock.
  Status run() {
    while (true) {
      bool all_done = true;
      for (size_t r = 0; r < ranks_.size(); ++r) {
        EXO_TRY(advance(r));
        all_done &= ranks_[r].done();
      }
      if (all_done) return {};
      EXO_ASSIGN(bool progress, meet());
      if (!progress) return deadlock();
    }
  }

  std::vector<std::map<std::string, Tensor>> take() {
    std::vector<std::map<std::string, Tensor>> result(ranks_.size());
    for (size_t r = 0; r < ranks_.size(); ++r) {
      for (size_t v = 0; v < ranks_[r].values.size(); ++v) {
        const Value& value = ranks_[r].graph->values[v];
        if (!value.global) result[r][value.name] = std::move(ranks_[r].values[v]);
      }
    }
    return result;
  }

 private:
  bool waits(const RankState& rank) const {  // a global graph has nobody to wait for
    return rank.graph->rank.has_value() && definition(rank.node().op).has(kCollective);
  }
  Status advance(size_t r) {
    RankState& rank = ranks_[r];
    for (; !rank.done() && !waits(rank); ++rank.next) {
      if (auto s = evaluate(r, rank.node()); !s.ok()) return Error(s.error()).note("interpreting " + print(*rank.graph, rank.node()));
    }
    return {};
  }
  Status evaluate(size_t r, const Node& node) {
    RankState& rank = ranks_[r];
    switch (node.op) {
      case Op::kInput: return input(rank, node);
      case Op::kWeight:
      case Op::kCache: return global(r, node);
      case Op::kRopeTable: {
        Tensor& out = rank.at(node.results[0]) = zeros(rank.graph->value(node.results[0]).type, size_);
        const auto& table = std::get<RopeTableAttrs>(node.attrs).frequencies;
        std::copy(table.begin(), table.end(), out.f.begin());
        return {};
      }
      case Op::kKvAppend: return append(r, node);
      default: break;
    }
    if (definition(node.op).has(kCollective)) {  // a global graph: values are whole already
      for (size_t i = 0; i < node.results.size(); ++i) rank.at(node.results[i]) = rank.at(node.operands[i]);
      return {};
    }
    std::vector<const Tensor*> in;
    for (ValueId id : node.operands) in.push_back(&rank.at(id));
    std::vector<Tensor> out;
    for (ValueId id : node.results) out.push_back(zeros(rank.graph->value(id).type, size_));
    EXO_TRY(definition(node.op).reference(node.attrs, eval_, in, out));
    for (size_t i = 0; i < out.size(); ++i) rank.at(node.results[i]) = std::move(out[i]);
    return {};
  }
  Status input(RankState& rank, const Node& node) {
    const std::string& source = std::get<InputAttrs>(node.attrs).source;
    Tensor& out = rank.at(node.results[0]);
    out.i = source == "tokens" ? step_.tokens : source == "positions" ? step_.positions : step_.rows;
    out.shape = {static_cast<int64_t>(out.i.size())};
    return {};
  }
  /// Weights are read once; caches start empty and grow.
  Status global(size_t r, const Node& node) {
    RankState& rank = ranks_[r];
    const Value& value = rank.graph->value(node.results[0]);
    auto [entry, fresh] = globals_[r].try_emplace(value.name);
    if (fresh) {
      for (Dim dim : value.type.shape) entry->second.shape.push_back(dim.size());
      if (node.op == Op::kWeight) EXO_TRY(weights_(std::get<WeightAttrs>(node.attrs), value.type, entry->second.f));
    }
    if (node.op == Op::kWeight) rank.at(node.results[0]) = entry->second;
    return {};
  }
  Status append(size_t r, const Node& node) {
    RankState& rank = ranks_[r];
    Tensor& cache = globals_[r].at(rank.graph->value(node.operands[0]).name);
    std::vector<Tensor> out(1);
    out[0] = std::move(cache);
    std::vector<const Tensor*> in;
    for (ValueId id : node.operands) in.push_back(&rank.at(id));
    EXO_TRY(definition(node.op).reference(node.attrs, eval_, in, out));
    rank.at(node.results[0]) = out[0];
    cache = std::move(out[0]);
    return {};
  }

  // --- rendezvous -------------------------------------------------------------------------------------------------
  Result<bool> meet() {
    bool progress = false;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      if (ranks_[r].done() || !waits(ranks_[r])) continue;
      const Op op = ranks_[r].node().op;
      progress |= op == Op::kSend ? meetSend(r) : op == Op::kRecv ? false : meetGroup(r);
    }
    return progress;
  }
  /// A send completes when one of its receivers waits for it; it stays until all have taken.
  bool meetSend(size_t r) {
    const auto& to = std::get<SendAttrs>(ranks_[r].node().attrs).to;
    for (int64_t peer : to) {
      const RankState& other = ranks_[static_cast<size_t>(peer)];
      if (other.done() || other.node().op != Op::kRecv || std::get<RecvAttrs>(other.node().attrs).from != static_cast<int64_t>(r)) return false;
    }
    const Tensor sent = ranks_[r].at(ranks_[r].node().operands[0]);
    for (int64_t peer : to) {
      RankState& other = ranks_[static_cast<size_t>(peer)];
      other.at(other.node().results[0]) = sent;
      ++other.next;
    }
    ++ranks_[r].next;
    return true;
  }
  bool meetGroup(size_t r) {
    const Mesh& mesh = ranks_[r].graph->mesh;
    const int stage = mesh.stageOf(*ranks_[r].graph->rank);
    std::vector<RankState*> group;
    for (int i = 0; i < mesh.stage_sizes[static_cast<size_t>(stage)]; ++i) group.push_back(&ranks_[static_cast<size_t>(mesh.firstRank(stage) + i)]);
    const Op op = ranks_[r].node().op;
    for (const RankState* member : group) {  // ranks at different collectives of one kind would mix values up
      if (member->done() || member->node().op != op || resultName(*member) != resultName(ranks_[r])) return false;
    }
    if (op == Op::kAllReduce) reduce(group);
    if (op == Op::kAllGather) gather(group);
    if (op == Op::kTopKMerge) merge(group);
    for (RankState* member : group) ++member->next;
    return true;
  }
  static const std::string& resultName(const RankState& rank) { return rank.graph->value(rank.node().results[0]).name; }
  static void reduce(const std::vector<RankState*>& group) {
    Tensor sum = group[0]->at(group[0]->node().operands[0]);
    for (size_t m = 1; m < group.size(); ++m) {
      const Tensor& x = group[m]->at(group[m]->node().operands[0]);
      for (size_t at = 0; at < sum.f.size(); ++at) sum.f[at] += x.f[at];
    }
    for (RankState* member : group) member->at(member->node().results[0]) = sum;
  }
  void gather(const std::vector<RankState*>& group) {
    Tensor whole = zeros(group[0]->graph->value(group[0]->node().results[0]).type, size_);
    size_t begin = 0;
    for (RankState* member : group) {
      const Tensor& x = member->at(member->node().operands[0]);
      const size_t width = static_cast<size_t>(x.columns()), full = static_cast<size_t>(whole.columns());
      for (size_t t = 0; t < static_cast<size_t>(x.rows()); ++t) {
        for (size_t c = 0; c < width; ++c) whole.f[t * full + begin + c] = x.f[t * width + c];
      }
      begin += width;
    }
    for (RankState* member : group) member->at(member->node().results[0]) = whole;
  }
  static void merge(const std::vector<RankState*>& group) {
    Tensor values = group[0]->at(group[0]->node().operands[0]), ids = group[0]->at(group[0]->node().operands[1]);
    const size_t k = static_cast<size_t>(values.columns());
    for (size_t row = 0; row < static_cast<size_t>(values.rows()); ++row) {
      std::vector<std::pair<float, int32_t>> all;
      for (RankState* member : group) {
        for (size_t j = row * k; j < (row + 1) * k; ++j) all.emplace_back(member->at(member->node().operands[0]).f[j], member->at(member->node().operands[1]).i[j]);
      }
      std::erase_if(all, [](const auto& entry) { return entry.second < 0; });
      std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
      all.resize(std::max(all.size(), k), {-std::numeric_limits<float>::infinity(), -1});
      for (size_t j = 0; j < k; ++j) std::tie(values.f[row * k + j], ids.i[row * k + j]) = all[j];
    }
    for (RankState* member : group) {
      member->at(member->node().results[0]) = values;
      member->at(member->node().results[1]) = ids;
    }
  }
  Error deadlock() const {
    std::string text = "the ranks wait for each other:";
    for (const RankState& rank : ranks_) {
      if (!rank.done()) text += "\n  rank " + std::to_string(rank.graph->rank.value_or(0)) + ": " + print(*rank.graph, rank.node());
    }
    return invalid(text);
  }

  const InterpreterStep& step_;
  const WeightFn& weights_;
  EvalStep eval_;
  StepSize size_;
  std::vector<RankState> ranks_;
  std::vector<std::map<std::string, Tensor>>& globals_;
};

}  // namespace

namespace {

Status checkStep(const InterpreterStep& step, int64_t max_context) {
  if (step.positions.size() != step.tokens.size() || step.sequence.size() != step.tokens.size()) {
    return invalid("interpreter: ", step.tokens.size(), " tokens need as many positions and sequences, got ", step.positions.size(), " and ", step.sequence.size());
  }
  for (size_t t = 0; t < step.tokens.size(); ++t) {
    if (step.positions[t] < 0 || step.positions[t] >= max_context) return invalid("interpreter: position ", step.positions[t], " is not within the context of ", max_context);
    if (step.sequence[t] < 0) return invalid("interpreter: sequence ", step.sequence[t], " is negative");
  }
  for (int32_t row : step.rows) {
    if (row < 0 || static_cast<size_t>(row) >= step.tokens.size()) return invalid("interpreter: row ", row, " is not one of ", step.tokens.size(), " tokens");
  }
  return {};
}

}  // namespace

Result<std::vector<std::map<std::string, Tensor>>> Interpreter::step(const InterpreterStep& step) {
  EXO_TRY(verify(module_, module_.graphs.size() == 1 && !module_.graphs[0].rank ? Stage::kImported : Stage::kPartitioned));
  EXO_TRY(checkStep(step, max_context_));
  globals_.resize(module_.graphs.size());
  StepRun run(module_, step, weights_, max_context_, globals_);
  EXO_TRY(run.run());
  return run.take();
}

}  // namespace exo
