// exoc dump: the sharded IR of a plan, readable: every line with its bytes and FLOP; as a picture of one block; as JSON.
#include <gflags/gflags.h>

#include <iomanip>
#include <iostream>
#include <sstream>

#include "frontend/driver/commands/commands.h"
#include "ir/text.h"
#include "passes/fuse.h"

DEFINE_string(pass, "insert_collectives", "the dump to show: import, or the name of a pass");
DEFINE_string(node, "", "only this node's graph (of passes from partition on)");
DEFINE_string(format, "text", "text, dot (of a plan: one block with its collectives), json (plans) or svg (topologies)");
DEFINE_string(block, "", "for dot: the block to draw; empty: the first layer");

namespace exo {

namespace fs = std::filesystem;

namespace {

constexpr StepSize kDecode{1, 1, 1};

std::string costText(const Graph& graph, const Node& node) {
  const Cost cost = graph.cost(node, kDecode);
  std::ostringstream out;
  out << "weights " << bytesText(cost.weight_bytes) << ", activations " << bytesText(cost.activation_bytes);
  if (cost.state_bytes > 0) out << ", cache " << bytesText(cost.state_bytes) << " per token of context";
  if (cost.wire_bytes > 0) out << ", wire " << bytesText(cost.wire_bytes);
  out << ", " << cost.flops << " flop";
  return out.str();
}

/// The nodes of the region that begins with node `first`.
std::span<const Node> regionFrom(const Graph& graph, size_t first) {
  size_t last = first;
  while (last < graph.nodes.size() && graph.nodes[last].region == graph.nodes[first].region) ++last;
  return std::span(graph.nodes).subspan(first, last - first);
}

/// The text form with each op's cost in one decode step behind it.
std::string annotated(const Graph& graph) {
  std::istringstream lines(print(graph));
  std::string line, text;
  size_t next = 0;
  while (std::getline(lines, line)) {
    const bool is_node = line.starts_with("    ");
    text += line;
    if (line.starts_with("   region ") && next < graph.nodes.size() && !graph.nodes[next].region.empty()) text += "   // " + explainRegion(graph, regionFrom(graph, next));
    if (is_node && next < graph.nodes.size()) {
      const Node& node = graph.nodes[next++];
      if (!definition(node.op).has(kSource)) text += "   // " + costText(graph, node);
      else if (node.op == Op::kWeight) text += "   // " + bytesText(static_cast<double>(sizeBytes(graph.value(node.results[0]).type)));
    }
    text += "\n";
  }
  return text;
}

const Block* blockToDraw(const Graph& graph) {
  for (const Block& block : graph.blocks) {
    if (FLAGS_block.empty() ? block.name.starts_with("layers.") : block.name == FLAGS_block) return &block;
  }
  return nullptr;
}

std::string dotQuoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"') result += '\\';
    result += c;
  }
  return result + "\"";
}

std::string dot(const Graph& graph, const Block& block) {
  const std::vector<int> producer = graph.producers();
  std::string text = "digraph " + dotQuoted(graph.name + " " + block.name) + " {\n  rankdir=TB; node [shape=box, fontname=\"monospace\", fontsize=10];\n";
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (graph.blocks[static_cast<size_t>(node.block)].name != block.name) continue;
    const OpDef& def = definition(node.op);
    std::string label = std::string(def.mnemonic);
    for (ValueId id : node.results) {
      const Value& value = graph.value(id);
      label += "\\n" + value.name + " : " + toString(value.type) + (value.sharding ? "\\n" + toString(*value.sharding) : "");
    }
    const char* style = def.has(kCollective) ? ", style=filled, fillcolor=\"#f4a261\"" : def.has(kGlobal) ? ", style=filled, fillcolor=\"#e9ecef\"" : "";
    text += "  n" + std::to_string(n) + " [label=" + dotQuoted(label) + style + "];\n";
    for (ValueId id : node.operands) {
      const int from = producer[static_cast<size_t>(id)];
      if (graph.nodes[static_cast<size_t>(from)].block == node.block) text += "  n" + std::to_string(from) + " -> n" + std::to_string(n) + ";\n";
      else text += "  v" + std::to_string(id) + " [label=" + dotQuoted(graph.value(id).name) + ", shape=ellipse];\n  v" + std::to_string(id) + " -> n" + std::to_string(n) + ";\n";
    }
  }
  return text + "}\n";
}

nlohmann::json json(const Graph& graph) {
  nlohmann::json nodes = nlohmann::json::array();
  for (const Node& node : graph.nodes) {
    const Cost cost = graph.cost(node, kDecode);
    nlohmann::json results = nlohmann::json::array(), operands = nlohmann::json::array();
    for (ValueId id : node.results) {
      const Value& value = graph.value(id);
      nlohmann::json entry = {{"name", value.name}, {"type", toString(value.type)}, {"bytes", sizeBytes(value.type, kDecode)}};
      if (value.sharding) entry["sharding"] = toString(*value.sharding);
      if (value.offset) entry["offset"] = *value.offset;
      results.push_back(entry);
    }
    for (ValueId id : node.operands) operands.push_back(graph.value(id).name);
    nodes.push_back({{"op", definition(node.op).mnemonic}, {"block", graph.blocks[static_cast<size_t>(node.block)].name}, {"region", node.region}, {"operands", operands}, {"results", results},
                     {"flop", cost.flops}, {"weight_bytes", cost.weight_bytes}, {"activation_bytes", cost.activation_bytes}, {"wire_bytes", cost.wire_bytes}});
  }
  nlohmann::json result = {{"graph", graph.name}, {"mesh", toString(graph.mesh)}, {"nodes", nodes}};
  if (graph.rank) result["rank"] = *graph.rank;
  return result;
}

/// Keeps the graph of the node asked for.
Status keepNode(const fs::path& directory, Module& module) {
  if (FLAGS_node.empty()) return {};
  EXO_ASSIGN(const plan::Plan plan, loadPlan(directory));
  for (const plan::Node& node : plan.nodes()) {
    if (node.name() != FLAGS_node) continue;
    if (!node.has_rank()) return invalid("--node ", FLAGS_node, ": the planner left this node out");
    if (!module.graphs[0].rank) return invalid("--node: after ", FLAGS_pass, " there is one graph for all nodes; use --pass partition or a later one");
    module.graphs = {Graph(module.graphs.at(node.rank()))};
    return {};
  }
  return invalid("--node: the plan has no node called \"", FLAGS_node, '"');
}

}  // namespace

Result<Module> readDump(const fs::path& directory, const std::string& pass) {
  const Pass* known = findPass(pass);
  const std::string name = known ? std::string(known->name) : pass;
  std::string there;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory / "ir", error)) {
    const std::string file = entry.path().filename().string();
    if (file.size() < 10 || !file.ends_with(".exoir")) continue;
    const std::string dumped = file.substr(3, file.size() - 9);
    if (dumped != name) {
      there += (there.empty() ? "" : ", ") + dumped;
      continue;
    }
    EXO_ASSIGN(const std::string text, readTextFile(entry.path()));
    return parseModule(text, entry.path().string());
  }
  return makeError(ErrorCode::kNotFound, directory.string(), " has no dump of \"", pass, "\"", there.empty() ? "; compile with --dump_ir all" : "; there are " + there);
}

Result<int> runDump(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string directory, onlyArgument(arguments, "a plan directory"));
  if (FLAGS_format != "text" && FLAGS_format != "dot" && FLAGS_format != "json") return invalid("--format: expected text, dot or json, got \"", FLAGS_format, '"');
  if (!FLAGS_node.empty() && FLAGS_pass == "insert_collectives") FLAGS_pass = "plan_memory";
  EXO_ASSIGN(Module module, readDump(directory, FLAGS_pass));
  EXO_TRY(keepNode(directory, module));
  if (FLAGS_format == "json") {
    nlohmann::json all = nlohmann::json::array();
    for (const Graph& graph : module.graphs) all.push_back(json(graph));
    std::cout << all.dump(2) << "\n";
    return 0;
  }
  for (const Graph& graph : module.graphs) {
    if (FLAGS_format == "text") {
      std::cout << annotated(graph);
      continue;
    }
    const Block* block = blockToDraw(graph);
    if (!block) return invalid("--block: there is no block called \"", FLAGS_block, '"');
    std::cout << dot(graph, *block);
    break;  // one picture
  }
  return 0;
}

}  // namespace exo
