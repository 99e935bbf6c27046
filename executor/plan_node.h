// One node's view of a plan: who it is, whom it must agree with, where it listens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "codegen/plan.h"
#include "executor/cluster/run.h"
#include "ir/base/result.h"

namespace exo {

/// What flags override.
struct PlanNodeOptions {
  std::string node;                    // name in the plan
  std::string listen, coordinator;     // host:port; empty: as the plan says
  std::optional<uint64_t> random_seed;
};

/// Info, roster and addresses of the node; times and events are left as they are by default. Errors kInvalidInput: an unknown
/// node (with those there are), one that the planner left out, a plan whose ranks do not add up, a coordinator without a port.
Result<cluster::NodeOptions> nodeOfPlan(const plan::Plan& plan, const PlanNodeOptions& options);

}  // namespace exo
