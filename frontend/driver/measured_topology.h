// Asks running nodes how fast they, the links between them, and their all_reduce are.
#pragma once

#include <string>
#include <vector>

#include "executor/cluster/security.h"
#include "ir/base/result.h"
#include "passes/parallel_plan.h"

namespace exo {

struct MeasuredTopology {
  Topology topology;
  std::vector<std::string> warnings;  // one per node, link or group of which figures varied by more than 10 % between repetitions
};

/// `addresses`: control services of nodes started with --measure_only. Takes about two seconds per node, one per pair and
/// transport, two per group of three nodes and more: all nodes together, and (of up to 8) all but one. Writes what it does to
/// stderr. Errors: a node that does not answer, or runs a model.
Result<MeasuredTopology> measureTopology(const std::vector<std::string>& addresses, const cluster::Security& security);

}  // namespace exo
