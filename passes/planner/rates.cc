#include "passes/planner/rates.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "passes/link_time.h"

namespace exo {
namespace {

using Transport = TopologyLink::Transport;

LinkRates defaultLink(Transport transport) {
  switch (transport) {
    case Transport::kShm: return {transport, 2e-6, 100e9 / 8, {}, false};
    case Transport::kRdma: return {transport, 3e-6, 100e9 / 8, {}, false};
    case Transport::kTcp: break;
  }
  return {Transport::kTcp, 30e-6, 10e9 / 8, {}, false};
}

bool isFigure(double value) { return std::isfinite(value) && value >= 0; }

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i == 8) return out + ", and " + std::to_string(names.size() - 8) + " more";
    out += (i ? ", " : "") + names[i];
  }
  return out;
}

std::string plainNumber(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

struct RateKind {
  const char* what;
  const char* unit;
  double TopologyNode::* given;       // in units of 1e9 per second
  double NodeRates::* resolved;
  double fallback;
};
constexpr RateKind kKinds[] = {
    {"memory read rate", "GB/s", &TopologyNode::read_gb_per_s, &NodeRates::read_bytes_per_s, DefaultRates::kReadBytesPerSecond},
    {"f32 rate", "GFLOP/s", &TopologyNode::f32_gflop_per_s, &NodeRates::f32_flops_per_s, DefaultRates::kF32FlopsPerSecond},
    {"int8 rate", "GOP/s", &TopologyNode::int8_gop_per_s, &NodeRates::int8_ops_per_s, DefaultRates::kInt8OpsPerSecond},
};

void resolveKind(const Topology& topology, const RateKind& kind, Rates& rates) {
  double slowest = 0;
  std::vector<std::string> unknown;
  for (const TopologyNode& node : topology.nodes) {
    const double given = node.*kind.given;
    if (given > 0) slowest = slowest > 0 ? std::min(slowest, given * 1e9) : given * 1e9;
    else unknown.push_back(node.name);
  }
  const double assumed = slowest > 0 ? slowest : kind.fallback;
  for (size_t i = 0; i < topology.nodes.size(); ++i) {
    const double given = topology.nodes[i].*kind.given;
    rates.nodes[i].*kind.resolved = given > 0 ? given * 1e9 : assumed;
  }
  if (unknown.empty()) return;
  rates.notes.push_back(std::string(kind.what) + " not measured on " + joined(unknown) + ": assumed " + plainNumber(assumed / 1e9) + " " + kind.unit +
                        (slowest > 0 ? ", the slowest of the others" : unknown.size() > 1 ? " on each, so they count as equal" : ""));
}

Status resolveNodes(const Topology& topology, Rates& rates) {
  std::vector<std::string> unlimited;
  for (const TopologyNode& node : topology.nodes) {
    for (double figure : {node.memory_gib, node.read_gb_per_s, node.int8_gop_per_s, node.f32_gflop_per_s})
      if (!isFigure(figure)) return invalid("topology: node \"", node.name, "\": a figure must be finite and not negative, got ", figure);
    NodeRates& out = rates.nodes.emplace_back();
    out.name = node.name;
    if (node.memory_gib > 0) out.memory_bytes = node.memory_gib * kGiB;
    else unlimited.push_back(node.name);
  }
  for (const RateKind& kind : kKinds) resolveKind(topology, kind, rates);
  if (!unlimited.empty()) rates.notes.push_back("memory not given for " + joined(unlimited) + ": taken as unlimited, nothing is checked there");
  return {};
}

void assumeLinks(const Topology& topology, Rates& rates) {
  const size_t n = topology.nodes.size();
  std::vector<std::string> hosts;
  for (const TopologyNode& node : topology.nodes) hosts.push_back(hostOf(node));
  rates.links.resize(n * n);
  for (size_t a = 0; a < n; ++a)
    for (size_t b = 0; b < n; ++b) rates.links[a * n + b] = defaultLink(hosts[a] == hosts[b] ? Transport::kShm : Transport::kTcp);
}

Status applyLinks(const Topology& topology, Rates& rates) {
  constexpr double kTypicalBytes = 16384;  // one token's hidden state
  std::map<std::string, size_t> index_of;
  for (size_t i = 0; i < topology.nodes.size(); ++i) index_of[topology.nodes[i].name] = i;
  std::map<std::pair<size_t, size_t>, bool> given;
  for (const TopologyLink& link : topology.links) {
    const auto from = index_of.find(link.from), to = index_of.find(link.to);
    if (from == index_of.end() || to == index_of.end())
      return invalid("topology: link between \"", link.from, "\" and \"", link.to, "\": no such node");
    if (!isFigure(link.latency_us) || !isFigure(link.bandwidth_gbit_per_s))
      return invalid("topology: link between \"", link.from, "\" and \"", link.to, "\": figures must be finite and not negative");
    LinkRates measured = defaultLink(link.transport);
    if (link.latency_us > 0) measured.latency_s = link.latency_us * 1e-6;
    if (link.bandwidth_gbit_per_s > 0) measured.bytes_per_s = link.bandwidth_gbit_per_s * 1e9 / 8;
    measured.curve = link.curve;
    measured.is_measured = !link.curve.empty() || (link.latency_us > 0 && link.bandwidth_gbit_per_s > 0);
    const size_t a = from->second, b = to->second, n = rates.nodes.size();
    const bool is_second = std::exchange(given[std::minmax(a, b)], true);
    if (is_second && measured.seconds(kTypicalBytes) >= rates.links[a * n + b].seconds(kTypicalBytes)) continue;
    rates.links[a * n + b] = rates.links[b * n + a] = measured;
  }
  const size_t n = topology.nodes.size(), pairs = n * (n - 1) / 2;
  if (given.size() < pairs)
    rates.notes.push_back(std::to_string(pairs - given.size()) + " of " + std::to_string(pairs) +
                          " node pairs without a measured link: assumed shared memory (2 us, 100 Gbit/s) on one host, TCP (30 us, 10 Gbit/s) between hosts");
  return {};
}

Status applyCollectives(const Topology& topology, Rates& rates) {
  std::map<std::string, int> index_of, host_of;
  for (size_t i = 0; i < topology.nodes.size(); ++i) {
    index_of[topology.nodes[i].name] = static_cast<int>(i);
    rates.hosts.push_back(host_of.try_emplace(hostOf(topology.nodes[i]), static_cast<int>(i)).first->second);
  }
  for (const TopologyCollective& collective : topology.collectives) {
    ReduceRates& reduce = rates.reduces.emplace_back(ReduceRates{{}, collective.steps, collective.timings});
    for (const std::string& name : collective.group) {
      const auto found = index_of.find(name);
      if (found == index_of.end()) return invalid("topology: collective of \"", name, "\": no such node");
      reduce.nodes.push_back(found->second);
    }
  }
  return {};
}

}  // namespace

double LinkRates::seconds(double bytes) const {
  return curve.empty() ? latency_s + bytes / bytes_per_s : interpolatedUs(curve, 1e6 / bytes_per_s, bytes) * 1e-6;
}

Result<Rates> resolveRates(const Topology& topology) {
  Rates rates;
  EXO_TRY(resolveNodes(topology, rates));
  assumeLinks(topology, rates);
  EXO_TRY(applyLinks(topology, rates));
  EXO_TRY(applyCollectives(topology, rates));
  return rates;
}

}  // namespace exo
