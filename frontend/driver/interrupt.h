// SIGINT, SIGTERM and SIGHUP as a flag, so that everything ends in order; a second one ends the process at once.
#pragma once

#include <atomic>

namespace exo {

/// Installs the handlers; one at a time per process. The destructor restores the default ones.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  const std::atomic<bool>* flag() const;
};

}  // namespace exo
