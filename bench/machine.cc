#include "bench/machine.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "ir/base/machine.h"

namespace exo::bench {
namespace {

// Above this much work per core that is not ours, medians move by more than what we want to see.
constexpr double kBusyLoadPerCore = 0.5;

}  // namespace

int allowedCores() { return std::max(1, static_cast<int>(allowedProcessors().size())); }

void printMachine() {
  double load = -1;
  std::ifstream("/proc/loadavg") >> load;
  const int cores = allowedCores();
  std::printf("machine: %s, %d cores, load average %.2f\n", processorName().c_str(), cores, load);
  if (load > kBusyLoadPerCore * cores) std::printf("WARNING: the machine is busy: figures are not to be trusted\n");
  std::fflush(stdout);
}

}  // namespace exo::bench
