// The graph: SSA values made by nodes, in order. A value type: passes take one and return another.
// A graph before `partition` is global (full shapes, shardings); after it a Module holds one local graph per rank.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ir/op.h"

namespace exo {

using ValueId = int32_t;

struct Value {
  std::string name;                   // without % or @
  Type type;
  std::optional<Sharding> sharding;   // global graphs, from choose_parallelism on
  std::optional<int64_t> offset;      // bytes in the arena, after plan_memory
  bool global = false;                // a weight or cache: printed with @
  friend bool operator==(const Value&, const Value&) = default;
};

struct Node {
  Op op;
  Attrs attrs;
  std::vector<ValueId> operands, results;
  int block = 0;                      // index into Graph::blocks
  std::string region;                 // after fuse: nodes of one name run as one parallel region
  int chain = 0;                      // in it: nodes of one chain are divided over threads alike, chains stand side by side,
                                      // but a first one without grain makes the rows that those with grain read
  int64_t grain = 0;                  // columns that one unit of work computes for all rows; 0: the op's own units
  friend bool operator==(const Node&, const Node&) = default;
};

/// A named part of the model ("embed", "layers.0", "head") and the pipeline stage that runs it.
struct Block {
  std::string name;
  int stage = 0;
  friend bool operator==(const Block&, const Block&) = default;
};

struct Graph {
  std::string name;
  Mesh mesh;
  std::optional<int> rank;            // of a local graph
  std::vector<Block> blocks;
  std::vector<Value> values;
  std::vector<Node> nodes;            // in an order in which they can run
  std::vector<ValueId> outputs;

  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
  int stageOf(const Node& node) const { return blocks[static_cast<size_t>(node.block)].stage; }
  std::vector<Type> operandTypes(const Node& node) const;
  std::vector<Type> resultTypes(const Node& node) const;
  bool isGlobal(ValueId id) const { return value(id).global; }
  /// Index of the node that makes each value.
  std::vector<int> producers() const;
  Cost cost(const Node& node, StepSize step) const;
  friend bool operator==(const Graph&, const Graph&) = default;
};

/// Numbers values and blocks in the order in which nodes mention them and drops what no node makes or belongs to: what
/// printing and parsing keep.
Graph renumber(const Graph& graph);

struct Module {
  std::vector<Graph> graphs;
  friend bool operator==(const Module&, const Module&) = default;
};

/// Appends nodes to a graph, inferring result types. Used by the frontend's architectures and by passes that rewrite.
/// A type error here is a bug of the caller: EXO_CHECK.
class Builder {
 public:
  explicit Builder(std::string name) { graph_.name = std::move(name); }

  /// Following nodes belong to this block.
  void block(const std::string& name, int stage = 0);
  void region(std::string name) { region_ = std::move(name); }

  /// A node with one result. Names are made unique by a suffix.
  ValueId add(Op op, const std::string& result, std::vector<ValueId> operands, Attrs attrs);
  ValueId add(Op op, const std::string& result, std::vector<ValueId> operands) { return add(op, result, std::move(operands), NoAttrs{}); }
  /// A source node (input, weight, cache, rope_table, recv) of the given type.
  ValueId source(Op op, const std::string& result, Type type, Attrs attrs);
  /// A node with several results, of inferred types.
  std::vector<ValueId> addMulti(Op op, const std::vector<std::string>& results, std::vector<ValueId> operands, Attrs attrs);

  void output(ValueId id) { graph_.outputs.push_back(id); }
  const Graph& graph() const { return graph_; }
  Graph& graph() { return graph_; }
  Graph take() && { return std::move(graph_); }

 private:
  std::string uniqueName(const std::string& wanted) const;
  std::vector<ValueId> append(Node node, const std::vector<std::string>& results, const std::vector<Type>& types);
  Graph graph_;
  std::set<std::string> names_;
  int block_ = 0;
  std::string region_;
};

}  // namespace exo
