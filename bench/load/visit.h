// What the clients of a load do and what becomes of it, as plain data. All is decided before the run and from a seed alone: who asks what,
// after which pause, and who leaves when. Only the server's times are not.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace exo::load {

using Seconds = std::chrono::duration<double>;

/// One request on a connection of its own.
struct Visit {
  enum class Kind { kAnswer, kAbort, kMalformed, kSlow, kHealth } kind = Kind::kAnswer;
  Seconds pause{0};                    // after the end of the client's visit before
  std::string bytes;                   // what is sent
  int64_t wants_tokens = 0;            // of the answer
  // kAbort: the client leaves after so many pieces of the answer; 0: after the request, -1: in the middle of it.
  int leave_after_pieces = 0;
  bool reset = false;                  // it leaves with a reset instead of an orderly end
  // kSlow: after the head nothing is read for so long.
  Seconds read_pause{0};
};

struct VisitOutcome {
  Visit::Kind kind = Visit::Kind::kAnswer;
  enum class End {
    kWhole,      // the answer came to its orderly end
    kLeft,       // as the visit wanted it
    kBroken,     // the server ended it before
    kTimedOut
  } end = End::kBroken;
  int status = 0;                      // 0: no answer
  std::vector<double> pieces_s;        // when pieces of text came, since the request was sent
  double end_s = 0;                    // when the answer ended
  int64_t tokens = 0;                  // of the answer, as its usage says
  int64_t wanted_tokens = 0;
};

/// A client: one visit after the other.
using Client = std::vector<Visit>;

const char* name(VisitOutcome::End end);

}  // namespace exo::load
