// What Linux says of this machine: processors, their name, memory.
#pragma once

#include <sched.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace exo {

/// Processors by number. cpu_set_t, of any machine's size (that type alone ends at 1024), without allocating: a process pins
/// itself between fork and exec, and a step its thread.
class ProcessorSet {
 public:
  static constexpr int kLimit = 8192;
  /// Those this thread may run on; none where the system does not say.
  static std::optional<ProcessorSet> ofThisThread();
  /// The calling thread onto these. False where the system refuses: an unpinned thread is slower, not wrong.
  bool applyToThisThread() const { return ::sched_setaffinity(0, sizeof words_, set()) == 0; }

  bool has(int processor) const { return CPU_ISSET_S(processor, sizeof words_, set()); }
  void add(int processor) { CPU_SET_S(processor, sizeof words_, reinterpret_cast<cpu_set_t*>(words_.data())); }
  std::vector<int> processors() const;   // rising

 private:
  const cpu_set_t* set() const { return reinterpret_cast<const cpu_set_t*>(words_.data()); }
  std::array<unsigned long, kLimit / (8 * sizeof(unsigned long))> words_ = {};
};

/// Processors this thread may run on, rising; empty where the system does not say.
std::vector<int> allowedProcessors();

/// The calling thread onto one processor; see applyToThisThread.
bool pinThisThread(int processor);

/// "model name" of /proc/cpuinfo; "unknown processor" where there is none.
std::string processorName();

/// A line of /proc/meminfo such as "MemAvailable", in bytes; 0 where there is none.
uint64_t meminfoBytes(const std::string& key);

}  // namespace exo
