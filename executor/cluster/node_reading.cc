#include "executor/cluster/node_reading.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <vector>

namespace exo::cluster {
namespace {

namespace fs = std::filesystem;

// Drivers of hwmon that measure the processor: Intel, AMD, ARM boards; the first that is there counts.
constexpr std::array<const char*, 5> kProcessorSensors = {"coretemp", "k10temp", "zenpower", "cpu_thermal", "scpi_sensors"};

std::optional<double> numberIn(const fs::path& path) {
  std::ifstream file(path);
  double value = 0;
  if (file >> value) return value;
  return {};
}

std::string wordIn(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

std::vector<fs::path> entries(const fs::path& directory) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) out.push_back(entry->path());
  std::sort(out.begin(), out.end());
  return out;
}

/// The value behind "KEY :" in a file of lines such as /proc/meminfo and /proc/cpuinfo.
std::string valueOf(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with(key)) continue;
    if (line.find_last_not_of(" \t", colon - 1) + 1 != key.size()) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

uint64_t kibibytes(const fs::path& meminfo, std::string_view key) {
  uint64_t value = 0;
  std::istringstream(valueOf(meminfo, key)) >> value;
  return value * 1024;
}

/// The hottest input of the first processor sensor. Millidegrees.
std::optional<double> temperature(const fs::path& hwmon) {
  const std::vector<fs::path> devices = entries(hwmon);
  for (const char* sensor : kProcessorSensors) {
    std::optional<double> hottest;
    for (const fs::path& device : devices) {
      if (wordIn(device / "name") != sensor) continue;
      for (const fs::path& input : entries(device)) {
        const std::string name = input.filename();
        if (!name.starts_with("temp") || !name.ends_with("_input")) continue;
        if (const auto value = numberIn(input)) hottest = std::max(hottest.value_or(*value / 1000), *value / 1000);
      }
    }
    if (hottest) return hottest;
  }
  return {};
}

/// Energy that all packages have used, from RAPL counters. Microjoules; "intel-rapl" is the name on AMD, too.
std::optional<double> joules(const fs::path& powercap) {
  std::optional<double> sum;
  for (const fs::path& zone : entries(powercap)) {
    if (!zone.filename().string().starts_with("intel-rapl:") || !wordIn(zone / "name").starts_with("package-")) continue;
    if (const auto value = numberIn(zone / "energy_uj")) sum = sum.value_or(0) + *value / 1e6;
  }
  return sum;
}

}  // namespace

NodeReading NodeReader::read(double seconds) {
  NodeReading reading;
  reading.processor = valueOf(root_ / "proc/cpuinfo", "model name");
  reading.memory_bytes = kibibytes(root_ / "proc/meminfo", "MemTotal");
  reading.available_bytes = kibibytes(root_ / "proc/meminfo", "MemAvailable");
  reading.temperature_c = temperature(root_ / "sys/class/hwmon");

  std::ifstream stat(root_ / "proc/stat");
  for (std::string line; std::getline(stat, line) && line.starts_with("cpu");) {
    if (line[3] != ' ') {
      ++reading.processors;
      continue;
    }
    // user nice system idle iowait irq softirq steal: idle and iowait are what is not used.
    std::istringstream fields(line.substr(4));
    ProcessorTime now;
    uint64_t value = 0;
    for (int i = 0; i < 8 && fields >> value; ++i) {
      now.all += value;
      if (i != 3 && i != 4) now.busy += value;
    }
    if (time_before_ && now.all > time_before_->all && now.busy >= time_before_->busy)
      reading.processor_share = static_cast<double>(now.busy - time_before_->busy) / static_cast<double>(now.all - time_before_->all);
    time_before_ = now;
  }

  if (const auto energy = joules(root_ / "sys/class/powercap")) {
    // A counter that wrapped round gives one second without power.
    if (energy_before_ && seconds > energy_before_->seconds && *energy >= energy_before_->joules)
      reading.power_w = (*energy - energy_before_->joules) / (seconds - energy_before_->seconds);
    energy_before_ = Energy{seconds, *energy};
  }
  return reading;
}

}  // namespace exo::cluster
