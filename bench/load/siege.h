// Everything at once that clients do to a server: answers that are read to their end, clients that leave, nonsense, slow readers, and
// somebody who asks for /health all the time. Then: was anything lost, does anything still run, has memory grown?
#pragma once

#include <string>
#include <vector>

#include "bench/load/crowd.h"
#include "bench/load/script.h"

namespace exo::load {

struct SiegeOptions {
  AnswerScript script;                 // its model is the server's
  int streams = 64, answers = 4;       // clients that read, and how often each asks
  int aborted = 500, malformed = 200;  // visits of clients that leave, and that talk nonsense; each kind by a tenth as many clients at most
  int slow = 8;                        // clients that do not read for a while
  Seconds read_pause{3};
  Seconds patience{120};               // of one visit
  uint64_t seed = 1;
  int rounds = 3;                      // the same load with other numbers, one after the other
};

struct SiegeReport {
  std::vector<std::string> wrong;           // what must not be, one line each
  std::vector<double> health_s;             // how long /health took, each time
  std::vector<uint64_t> resident_bytes;     // of all nodes together, when each round was over
  std::vector<double> round_s;
  int64_t tokens = 0;                       // of answers that were read to their end
  int answers = 0, left = 0, refused = 0;   // visits that ended as they should
};

/// Errors: the server cannot be asked.
Result<SiegeReport> besiege(const Target& target, const SiegeOptions& options);

}  // namespace exo::load
