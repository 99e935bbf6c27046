#include "frontend/topology/drawing.h"

#include <cmath>
#include <iomanip>
#include <map>
#include <numbers>
#include <set>
#include <sstream>

#include "frontend/topology/topology.h"
#include "passes/link_time.h"

namespace exo {
namespace {

using Row = std::vector<std::string>;

constexpr double kTypicalBytes = 16384;  // one token's hidden state: as the planner picks a pair's link

/// Three digits, and "-" for what is not known.
std::string figure(double value) {
  if (value <= 0) return "-";
  std::ostringstream out;
  out << std::fixed << std::setprecision(value < 10 ? 2 : value < 100 ? 1 : 0) << value;
  return out.str();
}

std::string sizeText(uint64_t bytes) {
  if (bytes >= 1 << 20 && bytes % (1 << 20) == 0) return std::to_string(bytes >> 20) + " MiB";
  if (bytes >= 1024 && bytes % 1024 == 0) return std::to_string(bytes >> 10) + " KiB";
  return std::to_string(bytes) + " B";
}

std::string transportOf(const TopologyLink& link) { return std::string(toString(link.transport)); }

/// Characters on a terminal, of a text in UTF-8.
size_t width(const std::string& text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

/// The first column on the left, the others on the right.
std::string table(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string blanks(widths[c] - width(row[c]), ' ');
      line += "  " + (c == 0 ? row[c] + blanks : blanks + row[c]);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

/// By pair of names in the nodes' order: the link that is the quickest for a typical message.
using Pairs = std::map<std::pair<std::string, std::string>, const TopologyLink*>;
Pairs quickestLinks(const Topology& topology) {
  std::map<std::string, size_t> index_of;
  for (size_t i = 0; i < topology.nodes.size(); ++i) index_of[topology.nodes[i].name] = i;
  const auto time = [](const TopologyLink& link) { return messageUs(link, kTypicalBytes).value_or(std::numeric_limits<double>::infinity()); };
  Pairs pairs;
  for (const TopologyLink& link : topology.links) {
    const bool ordered = index_of[link.from] < index_of[link.to];
    const TopologyLink*& best = pairs[ordered ? std::pair(link.from, link.to) : std::pair(link.to, link.from)];
    if (best == nullptr || time(link) < time(*best)) best = &link;
  }
  return pairs;
}

std::string nodesText(const Topology& topology) {
  std::vector<Row> rows = {{"node", "address", "cores", "memory GiB", "read GB/s", "int8 GOP/s", "f32 GFLOP/s", "read GB/s by threads"}};
  for (const TopologyNode& node : topology.nodes) {
    std::string by_threads;
    for (const auto& read : node.read_by_threads) by_threads += (by_threads.empty() ? "" : "  ") + std::to_string(read.threads) + ": " + figure(read.gb_per_s);
    rows.push_back({node.name, node.address, node.cores > 0 ? std::to_string(node.cores) : "-", figure(node.memory_gib), figure(node.read_gb_per_s),
                    figure(node.int8_gop_per_s), figure(node.f32_gflop_per_s), by_threads.empty() ? "-" : by_threads});
  }
  return table(rows);
}

std::string matrixText(const Topology& topology, const Pairs& pairs) {
  std::vector<Row> rows = {{""}};
  for (const TopologyNode& node : topology.nodes) rows[0].push_back(node.name);
  for (size_t a = 0; a < topology.nodes.size(); ++a) {
    Row& row = rows.emplace_back(Row{topology.nodes[a].name});
    for (size_t b = 0; b < topology.nodes.size(); ++b) {
      const auto found = pairs.find({topology.nodes[std::min(a, b)].name, topology.nodes[std::max(a, b)].name});
      if (a == b || found == pairs.end()) {
        row.push_back(a == b ? "." : "?");
      } else if (a < b) {
        row.push_back(figure(found->second->latency_us) + " us " + transportOf(*found->second));
      } else {
        row.push_back(figure(found->second->bandwidth_gbit_per_s) + " Gbit/s");
      }
    }
  }
  return "Quickest link of each pair: above the diagonal latency and transport, below bandwidth\n" + table(rows);
}

std::string linksText(const Topology& topology) {
  std::set<uint64_t> sizes;
  for (const TopologyLink& link : topology.links)
    for (const auto& point : link.curve) sizes.insert(point.bytes);
  std::vector<Row> rows = {{"between", "over", "Gbit/s", "barrier"}};
  for (const uint64_t bytes : sizes) rows[0].push_back(sizeText(bytes));
  for (const TopologyLink& link : topology.links) {
    Row& row = rows.emplace_back(Row{link.from + " - " + link.to, transportOf(link), figure(link.bandwidth_gbit_per_s), figure(link.barrier_us)});
    for (const uint64_t bytes : sizes) {
      const auto point = std::find_if(link.curve.begin(), link.curve.end(), [&](const auto& each) { return each.bytes == bytes; });
      row.push_back(point == link.curve.end() ? "-" : figure(point->us));
    }
  }
  return "Links: us of one message by size, and of a barrier of the two\n" + table(rows);
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

std::string stepsText(const std::vector<ReduceStep>& steps) {
  std::string out;
  for (const ReduceStep& step : steps) {
    out += (out.empty() ? "" : ", ") + std::string(kReduceAlgorithmNames[static_cast<size_t>(step.algorithm)]);
    if (step.up_to_bytes) out += " up to " + sizeText(*step.up_to_bytes);
    else out += steps.size() == 1 ? " for any size" : " above";
  }
  return out;
}

/// What a size takes is marked.
std::string timingsText(const TopologyCollective& collective) {
  std::vector<Row> rows = {{"us"}};
  for (const char* name : kReduceAlgorithmNames) rows[0].push_back(name);
  for (const auto& timing : collective.timings) {
    const auto step = std::find_if(collective.steps.begin(), collective.steps.end(), [&](const ReduceStep& each) { return !each.up_to_bytes || timing.bytes <= *each.up_to_bytes; });
    Row& row = rows.emplace_back(Row{sizeText(timing.bytes)});
    for (int a = 0; a < kNumReduceAlgorithms; ++a) row.push_back(figure(timing.us[a]) + (static_cast<int>(step->algorithm) == a ? "*" : " "));
  }
  return table(rows);
}

std::string collectivesText(const Topology& topology) {
  std::string out;
  for (const TopologyCollective& collective : topology.collectives) {
    out += "\nall_reduce of " + listed(collective.group) + ": " + stepsText(collective.steps) + "\n";
    if (collective.barrier_us > 0) out += "  a barrier takes " + figure(collective.barrier_us) + " us\n";
    if (!collective.timings.empty()) out += timingsText(collective);
  }
  return out;
}

std::string dotText(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out + "\"";
}

std::string xml(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

/// Lines for a node's box.
std::vector<std::string> nodeLines(const TopologyNode& node) {
  std::vector<std::string> lines = {node.name, node.address};
  if (node.read_gb_per_s > 0) lines.push_back("read " + figure(node.read_gb_per_s) + " GB/s");
  if (node.int8_gop_per_s > 0) lines.push_back("int8 " + figure(node.int8_gop_per_s) + " GOP/s");
  if (node.memory_gib > 0) lines.push_back(figure(node.memory_gib) + " GiB");
  return lines;
}

std::string linkLabel(const TopologyLink& link) {
  return transportOf(link) + " " + figure(link.latency_us) + " us, " + figure(link.bandwidth_gbit_per_s) + " Gbit/s";
}

}  // namespace

Result<Drawing> parseDrawing(std::string_view text) {
  if (text == "text") return Drawing::kText;
  if (text == "dot") return Drawing::kDot;
  if (text == "svg") return Drawing::kSvg;
  return invalid("--format: expected text, dot or svg, got \"", text.substr(0, 64), "\"");
}

std::string drawText(const Topology& topology) {
  std::string out = nodesText(topology);
  if (topology.nodes.size() > 1) out += "\n" + matrixText(topology, quickestLinks(topology));
  if (!topology.links.empty()) out += "\n" + linksText(topology);
  return out + collectivesText(topology);
}

std::string drawDot(const Topology& topology) {
  std::map<std::string, std::vector<const TopologyNode*>> hosts;
  for (const TopologyNode& node : topology.nodes) hosts[hostOf(node)].push_back(&node);
  std::string out = "graph topology {\n  node [shape=box];\n";
  int number = 0;
  for (const auto& [host, nodes] : hosts) {
    out += "  subgraph cluster_" + std::to_string(number++) + " { label=" + dotText(host) + ";\n";
    for (const TopologyNode* node : nodes) {
      std::string label;
      for (const std::string& line : nodeLines(*node)) label += (label.empty() ? "" : "\n") + line;
      std::string escaped;
      for (const char c : dotText(label)) escaped += c == '\n' ? std::string("\\n") : std::string(1, c);
      out += "    " + dotText(node->name) + " [label=" + escaped + "];\n";
    }
    out += "  }\n";
  }
  for (const auto& [pair, link] : quickestLinks(topology)) out += "  " + dotText(pair.first) + " -- " + dotText(pair.second) + " [label=" + dotText(linkLabel(*link)) + "];\n";
  for (const TopologyCollective& collective : topology.collectives) out += "  // all_reduce of " + listed(collective.group) + ": " + stepsText(collective.steps) + "\n";
  return out + "}\n";
}

std::string drawSvg(const Topology& topology) {
  constexpr double kBoxWidth = 190, kLine = 16;
  const double count = static_cast<double>(topology.nodes.size());
  const double radius = topology.nodes.size() < 2 ? 0 : std::max(220.0, count * 260 / (2 * std::numbers::pi));
  const double size = 2 * radius + 320, middle = size / 2;
  std::map<std::string, std::pair<double, double>> at;
  for (size_t i = 0; i < topology.nodes.size(); ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / count - std::numbers::pi / 2;
    at[topology.nodes[i].name] = {middle + radius * std::cos(angle), middle + radius * std::sin(angle)};
  }
  std::ostringstream out;
  out << std::fixed << std::setprecision(1);
  const double height = size + kLine * static_cast<double>(topology.collectives.size() + 1);
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << size << "\" height=\"" << height << "\" font-family=\"sans-serif\" font-size=\"12\">\n"
      << "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  const auto text = [&](double x, double y, const char* anchor, const std::string& words) {
    out << "<text x=\"" << x << "\" y=\"" << y << "\" text-anchor=\"" << anchor << "\">" << xml(words) << "</text>\n";
  };
  for (const auto& [pair, link] : quickestLinks(topology)) {
    const auto [x1, y1] = at[pair.first];
    const auto [x2, y2] = at[pair.second];
    out << "<line x1=\"" << x1 << "\" y1=\"" << y1 << "\" x2=\"" << x2 << "\" y2=\"" << y2 << "\" stroke=\"gray\"/>\n";
    text(x1 * 0.55 + x2 * 0.45, y1 * 0.55 + y2 * 0.45 - 3, "middle", linkLabel(*link));  // beside the middle, where others cross
  }
  for (const TopologyNode& node : topology.nodes) {
    const auto [x, y] = at[node.name];
    const std::vector<std::string> lines = nodeLines(node);
    const double box_height = kLine * static_cast<double>(lines.size()) + 8, top = y - box_height / 2;
    out << "<rect x=\"" << x - kBoxWidth / 2 << "\" y=\"" << top << "\" width=\"" << kBoxWidth << "\" height=\"" << box_height << "\" fill=\"#eef\" stroke=\"black\"/>\n";
    for (size_t i = 0; i < lines.size(); ++i) text(x, top + kLine * static_cast<double>(i + 1), "middle", lines[i]);
  }
  for (size_t i = 0; i < topology.collectives.size(); ++i)
    text(10, size + kLine * static_cast<double>(i), "start", "all_reduce of " + listed(topology.collectives[i].group) + ": " + stepsText(topology.collectives[i].steps));
  out << "</svg>\n";
  return out.str();
}

std::string draw(const Topology& topology, Drawing drawing) {
  switch (drawing) {
    case Drawing::kText: return drawText(topology);
    case Drawing::kDot: return drawDot(topology);
    case Drawing::kSvg: return drawSvg(topology);
  }
  return "";
}

}  // namespace exo
