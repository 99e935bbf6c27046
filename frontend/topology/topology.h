// topo.json: the machines a model is compiled for and what connects them, as people write it and as measuring a cluster
// writes it:
//
//   {"nodes": [{"name": "desk", "address": "10.0.0.2:52416", "memory_gib": 64, "cores": 16, "read_gb_per_s": 80,
//               "int8_gop_per_s": 2000, "f32_gflop_per_s": 900, "read_by_threads": [[1, 21.5], [2, 40], ...]}, ...],
//    "links": [{"between": ["desk", "mini"], "transport": "tcp", "latency_us": 28, "bandwidth_gbit_per_s": 9.4,
//               "barrier_us": 31, "curve": [[64, 28], [256, 28.5], ...]}, ...],
//    "collectives": [{"operation": "all_reduce", "group": ["desk", "mini", "nas"], "barrier_us": 45,
//                     "steps": [{"algorithm": "one-shot", "up_to_bytes": 65536}, {"algorithm": "two-shot"}],
//                     "timings": [{"bytes": 4096, "one-shot": 61, "two-shot": 88, "chain": 140}, ...]}, ...]}
//
// "curve": bytes of a message and half its round trip in us. "collectives": up to which size a group takes which algorithm
// (executor/collectives/algorithms.h), and what was measured, in us. Of files made before there were steps, "one_shot_bytes"
// and "two_shot_bytes" are read as such.
// A node needs its name and address only; what is left out is unknown (0 in Topology) and the planner says what it
// assumes. A file is untrusted: every field is checked, an unknown one is refused with the nearest known name.
#pragma once

#include <string>
#include <string_view>

#include "ir/base/result.h"
#include "passes/parallel_plan.h"

namespace exo {

constexpr size_t kMaxTopologyNodes = 1024;

/// Reads and checks a topology file. Error kIo when it cannot be read, kInvalidInput with file, place and reason otherwise.
Result<Topology> readTopology(const std::string& path);
/// The same for text; `file` names it in errors.
Result<Topology> parseTopology(std::string_view text, const std::string& file);

/// The text readTopology accepts; unknown figures are left out. Error kInvalidInput if the topology breaks a rule.
Result<std::string> formatTopology(const Topology& topology);
/// Writes the file beside `path` and renames it: a reader sees the old file or the new one, whole.
Status writeTopology(const std::string& path, const Topology& topology);

/// "shm", "rdma" or "tcp", as a topology file spells it.
std::string_view toString(TopologyLink::Transport transport);

/// `num_nodes` (at least 1) equal nodes n0, n1, ... at 127.0.0.1:0, of unknown rates and without a memory limit.
Topology loopbackTopology(int num_nodes);

}  // namespace exo
