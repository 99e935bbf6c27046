// One arrangement, worked out: where it is cut, who takes which share, how long a step takes.
#pragma once

#include "passes/planner/candidates.h"

namespace exo {

struct Evaluation {
  Arrangement arrangement;
  std::vector<Group> groups;
  std::vector<int> cuts;               // first unit of each stage, and the end
  std::vector<StageCost> stages;
  double seconds_per_token = 0, seconds_to_first_token = 0, communication_s = 0;
};

/// Nothing if it does not fit.
std::optional<Evaluation> evaluate(const CostModel& model, const Arrangement& arrangement, Cut cut, MemoryLimit limit);
/// The same question without looking at time.
bool fits(const CostModel& model, const Arrangement& arrangement);

/// Everything a report says of every rank.
Prediction predict(const CostModel& model, const Evaluation& evaluation);

/// The rank that lacks most memory; nothing if all have enough.
struct Shortfall {
  int node = 0;
  double needed = 0, usable = 0;
};
std::optional<Shortfall> worstShortfall(const CostModel& model, const Evaluation& evaluation);

}  // namespace exo
