// The message for a model that does not fit: by how much, where, and what would.
#pragma once

#include "passes/planner/candidates.h"

namespace exo {

struct CostModelInputs {
  const Graph& graph;
  const Topology& topology;
  const PlanRequest& request;
};

/// Error kDoesNotFit. Needs: no arrangement of the request fits. Tries shorter contexts, smaller weights and more
/// memory on the node that lacks most, each by planning again without looking at time.
Error explainShortage(const CostModelInputs& inputs, const CostModel& model, const std::vector<Arrangement>& tried);

}  // namespace exo
