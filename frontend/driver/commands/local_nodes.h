// Nodes of our own on this machine, as the flags of run and serve say.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "frontend/driver/local_cluster.h"
#include "frontend/driver/plan_source.h"

namespace exo {

/// --threads, --isa, --tune, --transport, --weight_cache_dir, --timeout.
std::vector<std::string> localNodeFlags();
/// Error kInvalidInput for one out of range.
Status checkLocalNodes();
/// Loading is shown on a terminal.
LocalClusterOptions localNodesFromFlags();

/// A plan is compiled already: a flag that would change it must not be ignored.
Status refuseCompileFlags(const std::string& spec);

/// Starts them, and tells on stderr what is worth knowing of places and links.
Result<std::unique_ptr<LocalCluster>> startLocalNodes(const PlanSource& source, const LocalClusterOptions& options, const std::atomic<bool>* cancel);

}  // namespace exo
