// How fast this machine is, for the planner: memory read bandwidth by number of threads, int8 and f32 arithmetic, memory.
// About a second and a half in all. Rates are medians of several repetitions; the spread says how far to trust them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/base/result.h"

namespace exo::cluster {

struct Rate {
  double median = 0;
  double spread = 0;  // (largest - smallest) / median of the repetitions
};
/// Of at least one repetition.
Rate summarized(std::vector<double> repetitions);

struct ReadRate {
  int threads = 0;
  Rate rate;          // 10^9 bytes per second
};

struct Measurement {
  std::vector<ReadRate> read;    // by threads, ascending: 1, 2, 4, ..., all
  Rate int8_gop_per_s;           // a multiplication and an addition are two; all threads together
  std::string int8_method;       // "avx512vnni", "avxvnni", "avx2", "plain"
  Rate f32_gflop_per_s;
  uint64_t memory_bytes = 0;
  uint64_t available_bytes = 0;
  int cores = 0;                 // processors this process may run on
  int threads = 0;               // used for the two rates of arithmetic
  std::string cpu;
};

/// Uses at most `threads` threads; 0: one per core. Occupies the machine: not while an engine runs.
/// Error kDoesNotFit when there is no memory to stream through.
Result<Measurement> measureNode(int threads = 0);

/// Lines for people.
std::string describe(const Measurement& measurement);

/// Resident memory of this process in bytes; 0 where unknown.
uint64_t residentBytes();

}  // namespace exo::cluster
