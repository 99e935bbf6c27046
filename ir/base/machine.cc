#include "ir/base/machine.h"

#include <fstream>

namespace exo {

std::optional<ProcessorSet> ProcessorSet::ofThisThread() {
  ProcessorSet allowed;
  if (::sched_getaffinity(0, sizeof allowed.words_, reinterpret_cast<cpu_set_t*>(allowed.words_.data())) != 0) return std::nullopt;
  return allowed;
}

std::vector<int> ProcessorSet::processors() const {
  std::vector<int> all;
  for (int processor = 0; processor < kLimit; ++processor) {
    if (has(processor)) all.push_back(processor);
  }
  return all;
}

std::vector<int> allowedProcessors() {
  const std::optional<ProcessorSet> allowed = ProcessorSet::ofThisThread();
  return allowed ? allowed->processors() : std::vector<int>();
}

bool pinThisThread(int processor) {
  ProcessorSet set;
  set.add(processor);
  return set.applyToThisThread();
}

std::string processorName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return "unknown processor";
}

uint64_t meminfoBytes(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string word;
  uint64_t kib = 0;
  while (file >> word) {
    if (word == key + ":" && file >> kib) return kib * 1024;
  }
  return 0;
}

}  // namespace exo
