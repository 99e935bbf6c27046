#include "executor/collectives/algorithms.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace exo::collectives {

std::string_view name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kOneShot: return "one-shot";
    case Algorithm::kTwoShot: return "two-shot";
    case Algorithm::kChain: return "chain";
    case Algorithm::kHierarchical: return "hierarchical";
  }
  return "?";
}

Algorithm Thresholds::choose(size_t group_size, size_t bytes) const {
  if (group_size <= 2) return Algorithm::kOneShot;
  return std::find_if(steps.begin(), steps.end() - 1, [&](const Step& step) { return bytes <= step.up_to_bytes; })->algorithm;
}

Status validate(const Thresholds& thresholds) {
  const auto& steps = thresholds.steps;
  if (steps.empty() || steps.back().up_to_bytes != Thresholds::kNoLimit) return invalid("algorithms: the last step must have no limit");
  for (size_t i = 1; i < steps.size(); ++i)
    if (steps[i].up_to_bytes <= steps[i - 1].up_to_bytes)
      return invalid("algorithms: limits must ascend, got ", steps[i].up_to_bytes, " B after ", steps[i - 1].up_to_bytes, " B");
  return {};
}

const Thresholds& AlgorithmTable::of(std::span<const int> group) const {
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return std::ranges::equal(row.group, group); });
  return row == rows.end() ? others : row->all_reduce;
}

namespace {

constexpr size_t kNumAlgorithms = std::size(kAlgorithms);

/// The cheapest algorithm for each of the timings, where every change costs as much as 5 % of one size (Viterbi's algorithm).
std::vector<size_t> cheapestPath(std::span<const Timing> timings) {
  const double change = std::log(1.05);
  struct Best {
    double cost = 0;
    size_t before = 0;
  };
  std::vector<std::array<Best, kNumAlgorithms>> best(timings.size());
  for (size_t i = 0; i < timings.size(); ++i) {
    for (size_t a = 0; a < kNumAlgorithms; ++a) {
      const double us = timings[i].us[a];
      const double own = us > 0 ? std::log(us) : std::numeric_limits<double>::infinity();
      best[i][a] = {i == 0 ? own : std::numeric_limits<double>::infinity(), a};
      for (size_t b = 0; i > 0 && b < kNumAlgorithms; ++b) {
        const double cost = best[i - 1][b].cost + own + (a == b ? 0 : change);
        if (cost < best[i][a].cost) best[i][a] = {cost, b};
      }
    }
  }
  const auto& last = best.back();
  std::vector<size_t> path = {static_cast<size_t>(
      std::min_element(last.begin(), last.end(), [](const Best& x, const Best& y) { return x.cost < y.cost; }) - last.begin())};
  for (size_t i = timings.size() - 1; i > 0; --i) path.push_back(best[i][path.back()].before);
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace

Thresholds fitThresholds(std::span<const Timing> timings) {
  if (timings.empty()) return {};
  const std::vector<size_t> path = cheapestPath(timings);
  Thresholds out{{}};
  for (size_t i = 0; i < path.size(); ++i) {
    if (i > 0 && path[i] == path[i - 1]) out.steps.pop_back();
    out.steps.push_back({kAlgorithms[path[i]], timings[i].bytes});
  }
  Thresholds::Step& last = out.steps.back();
  if (last.algorithm == Algorithm::kOneShot) {
    last.up_to_bytes = std::max(last.up_to_bytes, Thresholds{}.steps.front().up_to_bytes);
    out.steps.push_back({Algorithm::kTwoShot, Thresholds::kNoLimit});
  } else {
    last.up_to_bytes = Thresholds::kNoLimit;
  }
  return out;
}

}  // namespace exo::collectives
