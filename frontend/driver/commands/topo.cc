// exoc topo: asks running nodes how fast they and the links between them are, and writes topo.json.
#include <gflags/gflags.h>
#include <unistd.h>

#include <cmath>
#include <iomanip>
#include <iostream>
#include <set>
#include <sstream>

#include "executor/cluster/client.h"
#include "frontend/driver/commands/commands.h"
#include "frontend/topology/topology.h"

DECLARE_string(nodes);
DECLARE_string(out);
DEFINE_string(secret_file, "", "file with the cluster secret; needed for nodes beyond this machine");

namespace exo {

namespace {

/// (largest - smallest) / median of repeated measurements above which a figure is not to be trusted.
constexpr double kTrustedSpread = 0.1;

struct MeasuredNode {
  std::string address;
  std::unique_ptr<cluster::ControlClient> client;
  TopologyNode node;
};

std::vector<std::string> splitList(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

void warnSpread(const std::string& node, const char* what, double spread) {
  if (spread > kTrustedSpread) std::cerr << "warning: " << node << ": " << what << " varied by " << std::lround(spread * 100) << " % between repetitions; is the machine busy?\n";
}

Result<MeasuredNode> measure(const std::string& text, size_t index, const cluster::Security& security) {
  EXO_ASSIGN(const cluster::Address address, cluster::parseAddress(text));
  MeasuredNode measured{text, nullptr, {}};
  EXO_ASSIGN(measured.client, cluster::ControlClient::connect(address, security));
  EXO_ASSIGN(const cluster::NodeStatus status, measured.client->status());
  EXO_ASSIGN(const cluster::Measurement m, measured.client->measure());
  TopologyNode& node = measured.node;
  node.name = status.info.node.empty() ? "n" + std::to_string(index) : status.info.node;
  node.address = text;
  node.memory_gib = static_cast<double>(m.memory_bytes) / (1024.0 * 1024 * 1024);
  node.cores = m.cores;
  for (const cluster::ReadRate& read : m.read) node.read_gb_per_s = std::max(node.read_gb_per_s, read.rate.median);
  node.int8_gop_per_s = m.int8_gop_per_s.median;
  node.f32_gflop_per_s = m.f32_gflop_per_s.median;
  std::cerr << node.name << " at " << text << "\n" << cluster::describe(m);
  for (const cluster::ReadRate& read : m.read) warnSpread(node.name, "read bandwidth", read.rate.spread);
  warnSpread(node.name, "int8 rate", m.int8_gop_per_s.spread);
  warnSpread(node.name, "f32 rate", m.f32_gflop_per_s.spread);
  return measured;
}

/// Every transport the pair has; the planner takes the better one. A pair that shares a host has shared memory too.
Status measureLinks(const MeasuredNode& a, const MeasuredNode& b, Topology& topology) {
  for (const auto& [name, transport] : {std::pair{"shm", TopologyLink::Transport::kShm}, std::pair{"verbs", TopologyLink::Transport::kRdma}, std::pair{"tcp", TopologyLink::Transport::kTcp}}) {
    auto link = a.client->measureLink(b.address, name);
    if (!link.ok() && transport == TopologyLink::Transport::kShm) continue;  // not the same machine
    if (!link.ok() && transport == TopologyLink::Transport::kRdma) {
      std::cerr << a.node.name << " - " << b.node.name << " " << name << ": " << link.error().message() << "\n";
      continue;
    }
    if (!link.ok()) return std::move(link).error().note("measuring " + a.node.name + " - " + b.node.name);
    std::cerr << a.node.name << " - " << b.node.name << " " << name << ": " << std::fixed << std::setprecision(1) << link->latency_us.median << " us, " << link->bandwidth_gbit_per_s << " Gbit/s\n";
    warnSpread(a.node.name + " - " + b.node.name + " " + name, "latency", link->latency_us.spread);
    topology.links.push_back({a.node.name, b.node.name, transport, link->latency_us.median, link->bandwidth_gbit_per_s});
  }
  return {};
}

/// Nodes may not have names of their own yet: make them differ.
void makeNamesUnique(std::vector<MeasuredNode>& nodes) {
  std::set<std::string> taken;
  for (size_t i = 0; i < nodes.size(); ++i) {
    std::string& name = nodes[i].node.name;
    const std::string wanted = name;
    for (size_t n = i; !taken.insert(name).second; ++n) name = wanted + "-" + std::to_string(n);
  }
}

}  // namespace

Result<int> runTopo(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) return invalid("expected flags only, got \"", arguments[0], '"');
  if (FLAGS_out.empty()) return invalid("--out: expected a file to write the topology to");
  const std::vector<std::string> addresses = splitList(FLAGS_nodes);
  if (addresses.empty() || FLAGS_nodes.find(':') == std::string::npos) return invalid("--nodes: expected host:port,host:port of running nodes, got \"", FLAGS_nodes, '"');
  if (std::set<std::string>(addresses.begin(), addresses.end()).size() != addresses.size()) return invalid("--nodes: an address stands twice");
  cluster::Security security = cluster::Security::loopbackOnly();
  if (!FLAGS_secret_file.empty()) {
    EXO_ASSIGN(security, cluster::Security::fromSecretFile(FLAGS_secret_file));
  }
  std::vector<MeasuredNode> nodes;
  for (const std::string& address : addresses) {
    EXO_ASSIGN(MeasuredNode node, measure(address, nodes.size(), security));
    nodes.push_back(std::move(node));
  }
  makeNamesUnique(nodes);
  Topology topology;
  for (const MeasuredNode& node : nodes) topology.nodes.push_back(node.node);
  for (size_t a = 0; a < nodes.size(); ++a) {
    for (size_t b = a + 1; b < nodes.size(); ++b) EXO_TRY(measureLinks(nodes[a], nodes[b], topology));
  }
  EXO_TRY(writeTopology(FLAGS_out, topology));
  std::cerr << "written to " << FLAGS_out << "\n";
  return 0;
}

}  // namespace exo
