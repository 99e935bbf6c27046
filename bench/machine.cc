#include "bench/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace exo::bench {
namespace {

// Above this much work per core that is not ours, medians move by more than what we want to see.
constexpr double kBusyLoadPerCore = 0.5;

std::string processorName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return "unknown processor";
}

}  // namespace

int allowedCores() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

void printMachine() {
  double load = -1;
  std::ifstream("/proc/loadavg") >> load;
  const int cores = allowedCores();
  std::printf("machine: %s, %d cores, load average %.2f\n", processorName().c_str(), cores, load);
  if (load > kBusyLoadPerCore * cores) std::printf("WARNING: the machine is busy: figures are not to be trusted\n");
  std::fflush(stdout);
}

}  // namespace exo::bench
