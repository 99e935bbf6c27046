// SIGINT, SIGTERM and SIGHUP as a flag, so that everything ends in order; one too many ends the process at once.
#pragma once

#include <atomic>

namespace exo {

/// Installs the handlers; one at a time per process. The destructor restores the default ones.
class Interrupt {
 public:
  /// `counted`: so many signals are only counted; the next ends the process.
  explicit Interrupt(int counted = 1);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  /// True from the first signal on.
  const std::atomic<bool>* flag() const;
  int count() const;
};

}  // namespace exo
