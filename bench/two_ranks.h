// Two ranks as two threads of this process, each on a core of its own where there are two: one clock for both, so that
// the moments at which they arrive somewhere can be compared.
#pragma once

#include <functional>

#include "executor/transport/mesh.h"
#include "ir/base/result.h"

namespace exo::bench {

/// Connects ranks 0 and 1 by `choice`, calls body(rank, its mesh) on both threads, and returns the first error. An error of
/// one side ends waits of the other.
Status onTwoRanks(transport::Choice choice, const std::function<Status(int rank, transport::Mesh& mesh)>& body);

/// The same without links: body(rank).
Status onTwoThreads(const std::function<Status(int rank)>& body);

}  // namespace exo::bench
