// For profiles: until when a collective waited for whom.
#pragma once

#include <chrono>

namespace exo::collectives {

/// When the first chunk of a peer's message was seen.
struct Arrival {
  int peer = 0;
  std::chrono::steady_clock::time_point at;
};

}  // namespace exo::collectives
