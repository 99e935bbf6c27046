// Which algorithm is the quickest between these nodes: measured once, when they first meet, and kept with the topology.
#pragma once

#include <chrono>
#include <vector>

#include "executor/collectives/algorithms.h"
#include "executor/transport/mesh.h"
#include "ir/base/result.h"

namespace exo::collectives {

struct CalibrationOptions {
  std::vector<size_t> sizes = {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20};  // bytes, ascending
  std::chrono::milliseconds budget{300};      // sizes that would not fit into the rest of it are left out
  std::chrono::milliseconds timeout{30'000};  // of one operation
};

struct Calibration {
  std::vector<Timing> timings;  // on the group's first rank; elsewhere empty
  double barrier_us = 0;        // median; on the group's first rank, elsewhere 0
  Thresholds thresholds;        // equal on all ranks
};

/// All ranks of `group` call it at the same time, with equal options. The medians of the group's first rank decide, and are
/// told to the others. Groups of one or two have nothing to choose: only their barrier is measured. Of algorithms that are the
/// same in this group (hierarchical, where no neighbours share a host or all do) one is measured. Errors: as of Communicator.
Result<Calibration> calibrate(transport::Mesh& mesh, const std::vector<int>& group, const CalibrationOptions& options);

}  // namespace exo::collectives
