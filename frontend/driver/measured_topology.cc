#include "frontend/driver/measured_topology.h"

#include <cmath>
#include <future>
#include <iomanip>
#include <iostream>
#include <memory>
#include <set>
#include <sstream>

#include "executor/cluster/client.h"

namespace exo {
namespace {

/// (largest - smallest) / median of repetitions above which a figure is not to be trusted.
constexpr double kTrustedSpread = 0.1;
constexpr size_t kMostForSubsets = 8;  // nodes up to which every group without one of them is measured too

/// Four digits: no measurement is better than that, and people read the file.
double shortened(double figure) {
  std::ostringstream out;
  out << std::setprecision(4) << figure;
  return std::stod(out.str());
}

struct Node {
  std::unique_ptr<cluster::ControlClient> client;
  TopologyNode node;
};

class Measuring {
 public:
  explicit Measuring(const cluster::Security& security) : security_(security) {}

  Result<MeasuredTopology> run(const std::vector<std::string>& addresses) {
    for (const std::string& address : addresses) EXO_TRY(measureNode(address));
    makeNamesUnique();
    for (const Node& each : nodes_) out_.topology.nodes.push_back(each.node);
    for (size_t a = 0; a < nodes_.size(); ++a)
      for (size_t b = a + 1; b < nodes_.size(); ++b) EXO_TRY(measureLinks(nodes_[a], nodes_[b]));
    for (const std::vector<size_t>& group : groups()) EXO_TRY(measureGroup(group));
    return std::move(out_);
  }

 private:
  void noteSpread(const std::string& what, double spread) {
    ++figures_;
    if (spread <= kTrustedSpread) return;
    ++spread_figures_;
    if (spread > worst_spread_) {
      worst_spread_ = spread;
      worst_figure_ = what;
    }
  }

  /// Of all noted since the last call.
  void warnSpread(const std::string& where) {
    if (spread_figures_ > 0) {
      out_.warnings.push_back(where + ": " + std::to_string(spread_figures_) + " of " + std::to_string(figures_) + " figures varied by more than 10 % between repetitions, " + worst_figure_ +
                              " the most, by " + std::to_string(std::lround(worst_spread_ * 100)) + " %");
    }
    figures_ = spread_figures_ = 0;
    worst_spread_ = 0;
  }

  Status measureNode(const std::string& text) {
    EXO_ASSIGN(const cluster::Address address, cluster::parseAddress(text));
    Node& measured = nodes_.emplace_back();
    EXO_ASSIGN(measured.client, cluster::ControlClient::connect(address, security_));
    EXO_ASSIGN(const cluster::NodeStatus status, measured.client->status());
    EXO_ASSIGN(const cluster::Measurement m, measured.client->measure());
    TopologyNode& node = measured.node;
    node.name = status.info.node.empty() ? "n" + std::to_string(nodes_.size() - 1) : status.info.node;
    node.address = text;
    node.memory_gib = shortened(static_cast<double>(m.memory_bytes) / (1024.0 * 1024 * 1024));
    node.cores = m.cores;
    for (const cluster::ReadRate& read : m.read) {
      node.read_by_threads.push_back({read.threads, shortened(read.rate.median)});
      node.read_gb_per_s = std::max(node.read_gb_per_s, node.read_by_threads.back().gb_per_s);
      noteSpread("read bandwidth by " + std::to_string(read.threads) + (read.threads == 1 ? " thread" : " threads"), read.rate.spread);
    }
    node.int8_gop_per_s = shortened(m.int8_gop_per_s.median);
    node.f32_gflop_per_s = shortened(m.f32_gflop_per_s.median);
    noteSpread("int8 rate", m.int8_gop_per_s.spread);
    noteSpread("f32 rate", m.f32_gflop_per_s.spread);
    warnSpread(node.name);
    std::cerr << node.name << " at " << text << "\n" << cluster::describe(m);
    return {};
  }

  /// Nodes may not have names of their own yet: make them differ.
  void makeNamesUnique() {
    std::set<std::string> taken;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      std::string& name = nodes_[i].node.name;
      const std::string wanted = name;
      for (size_t n = i; !taken.insert(name).second; ++n) name = wanted + "-" + std::to_string(n);
    }
  }

  /// Every transport the pair has; the planner takes the better one. A pair that shares a host has shared memory too.
  Status measureLinks(const Node& a, const Node& b) {
    using enum TopologyLink::Transport;
    const std::string pair = a.node.name + " - " + b.node.name;
    for (const auto& [name, transport] : {std::pair{"shm", kShm}, std::pair{"verbs", kRdma}, std::pair{"tcp", kTcp}}) {
      auto link = a.client->measureLink(b.node.address, name);
      if (!link.ok() && transport == kShm) continue;  // not the same machine
      if (!link.ok() && transport == kRdma) {
        std::cerr << pair << " " << name << ": " << link.error().message() << "\n";
        continue;
      }
      if (!link.ok()) return std::move(link).error().note("measuring " + pair);
      addLink(pair + " " + name, {a.node.name, b.node.name, transport}, *link);
    }
    return {};
  }

  void addLink(const std::string& where, TopologyLink link, const cluster::LinkMeasurement& measured) {
    std::cerr << where << ": " << std::fixed << std::setprecision(1) << measured.latency_us.median << " us, " << measured.bandwidth_gbit_per_s.median << " Gbit/s\n";
    link.latency_us = shortened(measured.latency_us.median);
    link.bandwidth_gbit_per_s = shortened(measured.bandwidth_gbit_per_s.median);
    link.barrier_us = shortened(measured.barrier_us.median);
    for (const auto& point : measured.curve) {
      link.curve.push_back({point.bytes, shortened(point.us.median)});
      noteSpread("the time of " + std::to_string(point.bytes) + " B", point.us.spread);
    }
    noteSpread("bandwidth", measured.bandwidth_gbit_per_s.spread);
    noteSpread("the barrier", measured.barrier_us.spread);
    warnSpread(where);
    out_.topology.links.push_back(std::move(link));
  }

  /// Two have no choice of algorithms.
  std::vector<std::vector<size_t>> groups() const {
    std::vector<std::vector<size_t>> all;
    if (nodes_.size() < 3) return all;
    std::vector<size_t> everyone;
    for (size_t i = 0; i < nodes_.size(); ++i) everyone.push_back(i);
    all.push_back(everyone);
    for (size_t left_out = 0; nodes_.size() > 3 && nodes_.size() <= kMostForSubsets && left_out < nodes_.size(); ++left_out) {
      all.push_back(everyone);
      all.back().erase(all.back().begin() + static_cast<std::ptrdiff_t>(left_out));
    }
    return all;
  }

  Status measureGroup(const std::vector<size_t>& group) {
    TopologyCollective collective;
    std::string where = "all_reduce of";
    for (const size_t index : group) {
      collective.group.push_back(nodes_[index].node.name);
      where += " " + nodes_[index].node.name;
    }
    auto measured = calibrated(group);
    if (!measured.ok()) return std::move(measured).error().note("measuring " + where);
    addSteps(measured->thresholds, collective);
    collective.barrier_us = shortened(measured->barrier_us);
    for (const collectives::Timing& each : measured->timings) {
      TopologyCollective::Timing& timing = collective.timings.emplace_back(TopologyCollective::Timing{.bytes = each.bytes});
      for (size_t a = 0; a < std::size(collectives::kAlgorithms); ++a) {
        timing.us[a] = shortened(each.us[a]);
        if (each.us[a] > 0) noteSpread(std::string(kReduceAlgorithmNames[a]) + " of " + std::to_string(each.bytes) + " B", each.spread[a]);
      }
    }
    warnSpread(where);
    std::cerr << where << ": measured up to " << (collective.timings.empty() ? 0 : collective.timings.back().bytes) << " B\n";
    out_.topology.collectives.push_back(std::move(collective));
    return {};
  }

  static void addSteps(const collectives::Thresholds& thresholds, TopologyCollective& collective) {
    static_assert(static_cast<int>(ReduceAlgorithm::kHierarchical) == static_cast<int>(collectives::Algorithm::kHierarchical));
    for (const auto& step : thresholds.steps) {
      ReduceStep& added = collective.steps.emplace_back(ReduceStep{static_cast<ReduceAlgorithm>(step.algorithm), std::nullopt});
      if (step.up_to_bytes != collectives::Thresholds::kNoLimit) added.up_to_bytes = step.up_to_bytes;
    }
  }

  /// The first rank's, which has the timings.
  Result<collectives::Calibration> calibrated(const std::vector<size_t>& group) const {
    EXO_ASSIGN(const cluster::ProbeTicket ticket, cluster::makeProbeTicket("auto"));
    cluster::Session session{.epoch = ticket.epoch};
    for (uint32_t rank = 0; rank < group.size(); ++rank) {
      const Node& node = nodes_[group[rank]];
      EXO_ASSIGN(std::string endpoint, node.client->openGroup({ticket, rank, static_cast<uint32_t>(group.size())}));
      session.members.push_back({node.node.name, rank, std::move(endpoint)});
    }
    std::vector<std::future<Result<collectives::Calibration>>> running;
    for (const size_t index : group)
      running.push_back(std::async(std::launch::async, [&, index] { return nodes_[index].client->measureGroup(session); }));
    std::vector<Result<collectives::Calibration>> results;
    for (auto& each : running) results.push_back(each.get());
    for (size_t rank = 0; rank < results.size(); ++rank)
      if (!results[rank].ok()) return std::move(results[rank]).error().note("on node " + session.members[rank].node);
    return std::move(results.front());
  }

  const cluster::Security& security_;
  std::vector<Node> nodes_;
  MeasuredTopology out_;
  int figures_ = 0, spread_figures_ = 0;  // since the last warning
  double worst_spread_ = 0;
  std::string worst_figure_;
};

}  // namespace

Result<MeasuredTopology> measureTopology(const std::vector<std::string>& addresses, const cluster::Security& security) {
  return Measuring(security).run(addresses);
}

}  // namespace exo
