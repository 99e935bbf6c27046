// What Linux tells of one machine from second to second: processors, memory, temperature, power. Everything is optional:
// containers and virtual machines lack sensors, and a reading that is not there is not guessed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace exo::cluster {

struct NodeReading {
  std::string processor;                     // its name
  int processors = 0;                        // that run
  std::optional<double> processor_share;     // of all processors' time since the reading before, 0 to 1
  uint64_t memory_bytes = 0, available_bytes = 0;
  std::optional<double> temperature_c;       // of the processor
  std::optional<double> power_w;             // of its packages since the reading before; most systems tell it to root only
};

/// Reads /proc, hwmon and powercap below `root`. Not thread-safe; a reading takes well below a millisecond.
class NodeReader {
 public:
  explicit NodeReader(std::filesystem::path root = "/") : root_(std::move(root)) {}
  /// `seconds`: steady clock, for rates between two readings.
  NodeReading read(double seconds);

 private:
  struct ProcessorTime {
    uint64_t busy = 0, all = 0;
  };
  struct Energy {
    double seconds = 0, joules = 0;
  };
  std::filesystem::path root_;
  std::optional<ProcessorTime> time_before_;
  std::optional<Energy> energy_before_;
};

}  // namespace exo::cluster
