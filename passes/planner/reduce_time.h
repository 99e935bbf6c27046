// How long all_reduce takes between the nodes of a group, and by which algorithm it goes (executor/collectives/algorithms.h).
//
// The steps (which algorithm up to which size) are those measured for the very group; else, where every link is measured, what
// the formulas below find quickest at each size; else the executor's defaults: one-shot up to 64 KiB, two-shot above.
// Time of the algorithm that a step names: measured and interpolated where it was; else, for n ranks, payload b, t(x) the time
// of a message of x bytes over the group's slowest link and B the least bandwidth:
//   one-shot       t(b) + (n-2) b / B             every rank writes its payload to the n-1 others
//   two-shot       2 (t(b/n) + (n-2) b / (n B))   reduce-scatter, then all-gather
//   chain          2 (n-1) t(c) + (b-c) / B       up and back, in chunks of c = min(b, 256 KiB)
//   hierarchical   two-shot within hosts + the chain between them, each over its own links
#pragma once

#include <string>
#include <vector>

#include "passes/planner/rates.h"

namespace exo {

/// The least of all pairs of a group, size by size.
struct GroupLinks {
  LinkRates all, inside, between;  // inside, between: of neighbours on one host, and of others; measured only if there are any
  int num_runs = 1;                // of neighbours on one host
  int longest_run = 1;
};
GroupLinks groupLinks(const Rates& rates, const std::vector<int>& nodes);

class ReduceTime {
 public:
  ReduceTime() = default;
  /// `nodes` in rank order.
  ReduceTime(const Rates& rates, const std::vector<int>& nodes);

  /// Of one all_reduce of `bytes`.
  double seconds(double bytes) const;
  ReduceAlgorithm algorithm(double bytes) const;
  /// One-shot or two-shot, whichever comes closest: what travels in bf16 takes no other.
  double directSeconds(double bytes) const;

  const std::vector<ReduceStep>& steps() const { return steps_; }
  enum class Source { kDefault, kPredicted, kMeasured };
  Source source() const { return source_; }

 private:
  double predicted(ReduceAlgorithm algorithm, double bytes) const;
  double secondsBy(ReduceAlgorithm algorithm, double bytes) const;
  void predictSteps();

  int n_ = 1;
  GroupLinks links_;
  std::vector<ReduceStep> steps_;
  std::vector<TopologyLink::Point> measured_[kNumReduceAlgorithms];
  Source source_ = Source::kDefault;
};

/// "one-shot up to 64.0 KiB, two-shot above"
std::string stepsText(const std::vector<ReduceStep>& steps);

}  // namespace exo
