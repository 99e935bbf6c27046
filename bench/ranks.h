// Ranks as threads of this process, each on a core of its own where there are enough: one clock for both, so that
// the moments at which they arrive somewhere can be compared.
#pragma once

#include <functional>

#include "executor/transport/mesh.h"
#include "ir/base/result.h"

namespace exo::bench {

/// Connects `world` ranks with each other by `choice`, calls body(rank, its mesh) on a thread each, and returns the first
/// error. An error of one ends waits of the others.
Status onRanks(int world, transport::Choice choice, const std::function<Status(int rank, transport::Mesh& mesh)>& body);

/// The same without links: body(rank).
Status onThreads(int world, const std::function<Status(int rank)>& body);

}  // namespace exo::bench
