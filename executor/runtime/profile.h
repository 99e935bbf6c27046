// What a profile says (engine.h, ProfileEvent): per call, as a table for people, and as a trace for Perfetto.
// Trace: Chrome's JSON trace format ("Trace Event Format", complete events), a row per thread of each rank and one per peer.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "codegen/program.pb.h"
#include "executor/runtime/engine.h"

namespace exo::runtime {

struct CallTime {
  int32_t call = 0;
  int64_t num_steps = 0;    // in which it ran
  double wall_s = 0;        // from the first thread's begin to the last one's end, all steps together
};

/// By call; calls that did not run are left out.
std::vector<CallTime> callTimes(std::span<const ProfileEvent> events);

/// Bytes of weights that a call of `rows` rows reads, each once; of experts as many as the rows can use.
double weightBytesOf(const program::Program& program, const program::Call& call, int64_t rows);

/// Lines for people: regions alike in every block together; time, share, bytes of weights and, with a read roof in bytes per
/// second (else 0), their share of it; last what the threads waited for each other and for peers.
std::string profileTable(const program::Program& program, std::span<const ProfileEvent> events, double read_bytes_per_s);

/// The trace of one rank, {"traceEvents": [...], "otherData": {"table": profileTable() and `notes`}}. Microseconds of the steady clock:
/// ranks on one machine share it, others do not.
std::string profileTrace(const program::Program& program, std::span<const ProfileEvent> events, double read_bytes_per_s, const std::string& notes = {});

}  // namespace exo::runtime
