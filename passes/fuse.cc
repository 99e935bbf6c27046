#include "passes/fuse.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace exo {

namespace {

/// Fewer columns than these are not worth a unit of work.
constexpr int64_t kLeastGrain = 64;

/// How the work of a region is divided over threads.
enum class Division {
  kNone,      // no region yet
  kRows,      // a thread has the same rows in every node
  kColumns,   // a thread has the same columns in every node of a chain, all rows of them; the first nodes may lead by rows
  kUnits,     // by units of the op's own (attention, experts); nodes stand side by side
  kNot        // communication
};

bool isCollective(const Node& node) { return definition(node.op).has(kCollective); }
bool isBound(const Node& node) { return definition(node.op).has(kSource) && !isCollective(node); }
bool readsWholeRows(const Node& node) { return definition(node.op).has(kWholeRows); }
bool byColumns(const Node& node) { return definition(node.op).column_unit != nullptr; }

/// The type whose rows and columns the work of a node is divided by.
const Type& workType(const Graph& graph, const Node& node) {
  return graph.value(node.op == Op::kKvAppend ? node.operands[1] : node.results[0]).type;
}

/// All dimensions but the last.
std::vector<Dim> rowDims(const Graph& graph, const Node& node) {
  const Type& type = workType(graph, node);
  if (type.rank() < 2) return type.shape;
  return {type.shape.begin(), type.shape.end() - 1};
}

bool rowWise(const Node& node) { return definition(node.op).has(kElementwise) || node.op == Op::kKvAppend; }

/// Does the node begin a chain of columns: does it read whole rows, and make columns of them?
bool startsColumns(const Node& node) { return byColumns(node) && readsWholeRows(node); }

/// How a region that begins with this node is divided.
Division divisionOf(const Node& node) {
  if (isCollective(node)) return Division::kNot;
  if (startsColumns(node)) return Division::kColumns;
  return rowWise(node) ? Division::kRows : Division::kUnits;
}

class Regions {
 public:
  explicit Regions(const Graph& graph) : graph_(graph), source_(graph), member_(graph.values.size(), kOutside) { graph_.nodes.clear(); }

  Graph run() {
    for (const Node& node : source_.nodes) {
      if (isBound(node)) {
        waiting_.push_back(node);
        waiting_.back().region.clear();
        waiting_.back().chain = 0;
        waiting_.back().grain = 0;
        continue;
      }
      if (!joins(node)) {
        close();
        division_ = divisionOf(node);
      }
      add(node);
    }
    close();
    graph_.nodes.insert(graph_.nodes.end(), waiting_.begin(), waiting_.end());
    return std::move(graph_);
  }

 private:
  static constexpr int kOutside = -1;

  /// Indices into members_ of the nodes of this region that the node reads from.
  std::vector<int> makers(const Node& node) const {
    std::vector<int> result;
    for (ValueId id : node.operands) {
      if (member_[static_cast<size_t>(id)] != kOutside) result.push_back(member_[static_cast<size_t>(id)]);
    }
    return result;
  }

  bool joins(const Node& node) const {
    if (members_.empty() || node.block != members_.front().block) return false;
    const std::vector<int> from = makers(node);
    switch (division_) {
      case Division::kRows: return (rowWise(node) || (startsColumns(node) && !from.empty())) && sameRows(node);
      case Division::kColumns: return joinsColumns(node, from);
      case Division::kUnits: return from.empty() && node.op == members_.front().op;
      case Division::kNone:
      case Division::kNot: return false;
    }
    return false;
  }

  bool sameRows(const Node& node) const { return rowDims(source_, node) == rowDims(source_, members_.front()); }

  /// A matmul begins a chain, behind the lead or beside it; others need what only their own chain makes.
  bool joinsColumns(const Node& node, const std::vector<int>& from) const {
    if (!byColumns(node)) return false;
    const auto led = std::count_if(from.begin(), from.end(), [&](int m) { return isLead(m); });
    if (led == static_cast<int64_t>(from.size())) return startsColumns(node) && (led == 0 || sameRows(node));
    return led == 0 && sameColumns(node, from);
  }

  bool isLead(int member) const { return member < num_leading_; }

  /// Does the node need, of what this region makes, only the columns that the same thread makes?
  bool sameColumns(const Node& node, const std::vector<int>& from) const {
    return !readsWholeRows(node) && std::all_of(from.begin(), from.end(), [&](int m) {
      return workType(source_, members_[static_cast<size_t>(m)]).shape == workType(source_, node).shape;
    });
  }

  void add(const Node& node) {
    const int index = static_cast<int>(members_.size());
    std::vector<int> from = makers(node);
    if (division_ == Division::kRows && !rowWise(node)) {
      division_ = Division::kColumns;
      num_leading_ = index;
    }
    std::erase_if(from, [&](int m) { return isLead(m); });
    int chain = division_ == Division::kRows ? 0 : index;
    for (int m : from) chain = std::min(chain, chain_[static_cast<size_t>(m)]);
    for (int m : from) std::replace(chain_.begin(), chain_.end(), chain_[static_cast<size_t>(m)], chain);
    bound_.insert(bound_.end(), waiting_.begin(), waiting_.end());
    waiting_.clear();
    members_.push_back(node);
    chain_.push_back(chain);
    for (ValueId id : node.results) member_[static_cast<size_t>(id)] = index;
  }

  /// Columns that every node of the chain can compute apart from the others.
  int64_t grainOf(int chain) const {
    int64_t grain = 1;
    for (size_t m = 0; m < members_.size(); ++m) {
      if (chain_[m] != chain) continue;
      const std::vector<Type> types = source_.operandTypes(members_[m]);
      grain = std::lcm(grain, std::max<int64_t>(1, definition(members_[m].op).column_unit(members_[m].attrs, types)));
    }
    return kLeastGrain % grain == 0 ? kLeastGrain : grain;
  }

  /// Ends the region: the sources that stood in it go before it, its chains one after another.
  void close() {
    graph_.nodes.insert(graph_.nodes.end(), bound_.begin(), bound_.end());
    bound_.clear();
    if (members_.empty()) return;
    const int block = members_.front().block;
    const std::string name = source_.blocks[static_cast<size_t>(block)].name + "." + std::to_string(next_[block]++);
    std::vector<int> order = chain_;
    std::sort(order.begin(), order.end());
    order.erase(std::unique(order.begin(), order.end()), order.end());
    for (size_t c = 0; c < order.size(); ++c) {
      const bool leads = isLead(order[c]);   // a chain is called by its first member
      const int64_t grain = division_ == Division::kColumns && !leads ? grainOf(order[c]) : 0;
      for (size_t m = 0; m < members_.size(); ++m) {
        if (chain_[m] != order[c]) continue;
        graph_.nodes.push_back(members_[m]);
        graph_.nodes.back().region = name;
        graph_.nodes.back().chain = static_cast<int>(c);
        graph_.nodes.back().grain = grain;
      }
    }
    for (const Node& node : members_) {
      for (ValueId id : node.results) member_[static_cast<size_t>(id)] = kOutside;
    }
    members_.clear();
    chain_.clear();
    num_leading_ = 0;
  }

  Graph graph_;
  const Graph& source_;
  std::vector<Node> waiting_;     // sources since the last member
  std::vector<Node> bound_;       // sources that stood between the members
  std::vector<Node> members_;     // of the current region
  std::vector<int> chain_;        // of each member: the first member that it hangs together with
  int num_leading_ = 0;           // of a region by columns: so many members make rows for the others
  std::vector<int> member_;       // per value: the member that makes it
  Division division_ = Division::kNone;
  std::map<int, int> next_;       // number of each block's next region
};

/// "32 units of 64 columns, all rows: matmul, rope", for people.
std::string chainText(const Graph& graph, const std::vector<const Node*>& nodes) {
  std::string text;
  for (const Node* node : nodes) text += (text.empty() ? "" : ", ") + std::string(definition(node->op).mnemonic);
  const Node& first = *nodes.front();
  if (first.grain == 0) return text;
  const int64_t columns = workType(graph, first).shape.back().size();
  const int64_t units = (columns + first.grain - 1) / first.grain;
  return std::to_string(units) + (units == 1 ? " unit" : " units") + " of " + std::to_string(first.grain) + " columns, all rows: " + text;
}

}  // namespace

// Chains one after another are another order than the one they came in.
Graph fuse(const Graph& graph) { return renumber(Regions(graph).run()); }

std::string explainRegion(const Graph& graph, std::span<const Node> nodes) {
  std::vector<std::vector<const Node*>> chains;
  for (const Node& node : nodes) {
    if (chains.empty() || chains.back().back()->chain != node.chain) chains.emplace_back();
    chains.back().push_back(&node);
  }
  const bool led = chains.size() > 1 && chains[0][0]->grain == 0 && chains[1][0]->grain > 0;
  std::string text;
  if (led) {
    text = "rows first: " + chainText(graph, chains.front()) + " (of few rows one thread, inside the barrier of the region before; of many all threads in turns, and who needs a block of rows waits for that alone) > ";
    chains.erase(chains.begin());
  }
  for (size_t c = 0; c < chains.size(); ++c) text += (c > 0 ? " | " : "") + chainText(graph, chains[c]);
  const Division division = nodes.back().grain > 0 ? Division::kColumns : divisionOf(nodes.front());
  switch (division) {
    case Division::kNot: return text + ": one thread, inside the barrier of the region before";
    case Division::kRows: return text + ": by rows; in a step of few rows one thread, inside the barrier of the region before";
    case Division::kUnits: return text + ": by the op's own units; a barrier behind";
    default: return text + "; a barrier behind";
  }
}

}  // namespace exo
