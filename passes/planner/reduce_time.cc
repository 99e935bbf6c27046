#include "passes/planner/reduce_time.h"

#include <algorithm>
#include <array>
#include <map>

#include "passes/link_time.h"
#include "passes/planner/planner.h"

namespace exo {
namespace {

using enum ReduceAlgorithm;

constexpr double kChunkBytes = 256 * 1024;  // a slot of the executor's rings
constexpr std::array<uint64_t, 9> kSampled = {64, 256, 1024, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20};
constexpr uint64_t kLeastStep = 1024, kMostStep = uint64_t{64} << 20;

const std::vector<ReduceStep>& defaultSteps() {
  static const std::vector<ReduceStep> steps = {{kOneShot, 64 * 1024}, {kTwoShot, std::nullopt}};
  return steps;
}

/// The slower of both at every size.
void slowDown(LinkRates& slowest, const LinkRates& link, bool is_first) {
  if (is_first) {
    slowest = link;
    return;
  }
  if (!slowest.curve.empty() || !link.curve.empty()) {
    std::vector<TopologyLink::Point> curve;
    for (const uint64_t bytes : kSampled) curve.push_back({bytes, 1e6 * std::max(slowest.seconds(static_cast<double>(bytes)), link.seconds(static_cast<double>(bytes)))});
    slowest.curve = std::move(curve);
  }
  slowest.latency_s = std::max(slowest.latency_s, link.latency_s);
  slowest.bytes_per_s = std::min(slowest.bytes_per_s, link.bytes_per_s);
  slowest.is_measured &= link.is_measured;
}

/// Which nodes share a host, whatever hosts they are: 0 for those of the first one, 1 of the next.
std::vector<int> hostPattern(const Rates& rates, const std::vector<int>& nodes) {
  std::map<int, int> number_of;
  std::vector<int> pattern;
  for (const int node : nodes) pattern.push_back(number_of.try_emplace(rates.hosts[static_cast<size_t>(node)], static_cast<int>(number_of.size())).first->second);
  return pattern;
}

double oneShot(const LinkRates& link, int n, double bytes) { return link.seconds(bytes) + (n - 2) * bytes / link.bytes_per_s; }
double twoShot(const LinkRates& link, int n, double bytes) { return n < 2 ? 0 : 2 * oneShot(link, n, bytes / n); }
double chain(const LinkRates& link, int n, double bytes) {
  const double chunk = std::min(bytes, kChunkBytes);
  return n < 2 ? 0 : 2 * (n - 1) * link.seconds(chunk) + (bytes - chunk) / link.bytes_per_s;
}

/// The same nodes, and hosts in the same pattern: then as many ranks are neighbours.
const ReduceRates* measuredFor(const Rates& rates, const std::vector<int>& nodes) {
  std::vector<int> wanted = nodes;
  std::sort(wanted.begin(), wanted.end());
  for (const ReduceRates& reduce : rates.reduces) {
    std::vector<int> measured = reduce.nodes;
    std::sort(measured.begin(), measured.end());
    if (measured == wanted && hostPattern(rates, reduce.nodes) == hostPattern(rates, nodes)) return &reduce;
  }
  return nullptr;
}

}  // namespace

GroupLinks groupLinks(const Rates& rates, const std::vector<int>& nodes) {
  GroupLinks out;
  bool is_first = true, is_first_inside = true, is_first_between = true;
  for (size_t a = 0; a < nodes.size(); ++a) {
    for (size_t b = a + 1; b < nodes.size(); ++b) {
      const LinkRates& link = rates.link(nodes[a], nodes[b]);
      slowDown(out.all, link, std::exchange(is_first, false));
      const bool one_host = rates.hosts[static_cast<size_t>(nodes[a])] == rates.hosts[static_cast<size_t>(nodes[b])];
      slowDown(one_host ? out.inside : out.between, link, std::exchange(one_host ? is_first_inside : is_first_between, false));
    }
  }
  int run = 1;
  for (size_t i = 1; i < nodes.size(); ++i) {
    const bool goes_on = rates.hosts[static_cast<size_t>(nodes[i])] == rates.hosts[static_cast<size_t>(nodes[i - 1])];
    run = goes_on ? run + 1 : 1;
    out.num_runs += goes_on ? 0 : 1;
    out.longest_run = std::max(out.longest_run, run);
  }
  return out;
}

ReduceTime::ReduceTime(const Rates& rates, const std::vector<int>& nodes)
    : n_(static_cast<int>(nodes.size())), links_(groupLinks(rates, nodes)), steps_(defaultSteps()) {
  if (n_ <= 2) {
    steps_ = {{kOneShot, std::nullopt}};
    return;
  }
  if (const ReduceRates* measured = measuredFor(rates, nodes)) {
    steps_ = measured->steps;
    source_ = Source::kMeasured;
    for (const auto& timing : measured->timings)
      for (int a = 0; a < kNumReduceAlgorithms; ++a)
        if (timing.us[a] > 0) measured_[a].push_back({timing.bytes, timing.us[a]});
  } else if (links_.all.is_measured) {
    predictSteps();
    source_ = Source::kPredicted;
  }
}

double ReduceTime::predicted(ReduceAlgorithm algorithm, double bytes) const {
  switch (algorithm) {
    case kOneShot: return oneShot(links_.all, n_, bytes);
    case kTwoShot: return twoShot(links_.all, n_, bytes);
    case kChain: return chain(links_.all, n_, bytes);
    case kHierarchical: break;
  }
  if (links_.num_runs == 1) return twoShot(links_.all, n_, bytes);
  if (links_.longest_run == 1) return chain(links_.between, n_, bytes);
  return twoShot(links_.inside, links_.longest_run, bytes) + chain(links_.between, links_.num_runs, bytes);
}

double ReduceTime::secondsBy(ReduceAlgorithm algorithm, double bytes) const {
  const std::vector<TopologyLink::Point>& points = measured_[static_cast<size_t>(algorithm)];
  return points.empty() ? predicted(algorithm, bytes) : interpolatedUs(points, lastUsPerByte(points), bytes) * 1e-6;
}

/// By powers of two. A change of algorithm has to gain 5 %, so that steps do not come from rounding.
void ReduceTime::predictSteps() {
  steps_.clear();
  for (uint64_t bytes = kLeastStep; bytes <= kMostStep; bytes *= 2) {
    const double at = static_cast<double>(bytes);
    ReduceAlgorithm best = steps_.empty() ? kOneShot : steps_.back().algorithm;
    double best_s = predicted(best, at) / 1.05;
    for (const ReduceAlgorithm algorithm : {kOneShot, kTwoShot, kChain, kHierarchical}) {
      if (predicted(algorithm, at) >= best_s) continue;
      best = algorithm;
      best_s = predicted(algorithm, at);
    }
    if (!steps_.empty() && steps_.back().algorithm == best) steps_.pop_back();
    steps_.push_back({best, bytes});
  }
  steps_.back().up_to_bytes.reset();
}

ReduceAlgorithm ReduceTime::algorithm(double bytes) const {
  for (const ReduceStep& step : steps_)
    if (!step.up_to_bytes || bytes <= static_cast<double>(*step.up_to_bytes)) return step.algorithm;
  return kOneShot;
}

double ReduceTime::seconds(double bytes) const { return n_ < 2 ? 0 : secondsBy(algorithm(bytes), bytes); }

double ReduceTime::directSeconds(double bytes) const {
  return n_ < 2 ? 0 : secondsBy(algorithm(bytes) == kOneShot ? kOneShot : kTwoShot, bytes);
}

std::string stepsText(const std::vector<ReduceStep>& steps) {
  std::string out;
  for (const ReduceStep& step : steps) {
    out += (out.empty() ? "" : ", ") + std::string(kReduceAlgorithmNames[static_cast<size_t>(step.algorithm)]);
    if (step.up_to_bytes) out += " up to " + bytesText(static_cast<double>(*step.up_to_bytes));
    else out += steps.size() == 1 ? " for any size" : " above";
  }
  return out;
}

}  // namespace exo
