#include "executor/runtime/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iomanip>
#include <limits>
#include <sstream>
#include <utility>

#include "ir/base/machine.h"

namespace exo::runtime {
namespace {

constexpr uint64_t kHugePageBytes = 2u << 20;

std::string gib(uint64_t bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << static_cast<double>(bytes) / (1u << 30) << " GiB";
  return out.str();
}

/// The first number of a file, or `otherwise` when there is none (cgroup files say "max").
uint64_t numberIn(const char* path, uint64_t otherwise) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : otherwise;
}

/// File pages are counted as used by a control group, but given back under pressure.
uint64_t pageCacheOfGroupBytes() {
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  std::string key;
  uint64_t bytes = 0;
  while (file >> key >> bytes)
    if (key == "file") return bytes;
  return 0;
}

/// The sum, or the largest number when it overflows: that never fits.
uint64_t saturatingAdd(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max() : a + b;
}

}  // namespace

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Memory::~Memory() {
  if (data_ != nullptr) munmap(data_, size_);
}

Result<Memory> Memory::allocate(uint64_t size_bytes, const std::string& what) {
  Memory memory;
  if (size_bytes == 0) return memory;
  void* data = size_bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                   ? (errno = ENOMEM, MAP_FAILED)
                   : mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return makeError(ErrorCode::kDoesNotFit, ErrorScope::kRank, what, ": the system refused ", size_bytes, " bytes (",
                     gib(size_bytes), "): ", std::strerror(errno));
  // A hint: without huge pages reads are up to 10 % slower, nothing else.
  if (size_bytes >= kHugePageBytes) (void)madvise(data, size_bytes, MADV_HUGEPAGE);
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = size_bytes;
  return memory;
}

Result<Memory> Memory::mapFile(int fd, uint64_t offset_bytes, uint64_t size_bytes, FileAccess access) {
  Memory memory;
  if (size_bytes == 0) return memory;
  const int protection = access == FileAccess::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data = mmap(nullptr, size_bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset_bytes));
  if (data == MAP_FAILED)
    return makeError(ErrorCode::kIo, ErrorScope::kRank, "cannot map ", size_bytes, " bytes of a file (", gib(size_bytes), "): ", std::strerror(errno));
  // Where the file system's page cache can (ext4 of Linux 6.16, xfs), reading and writing then make huge pages.
  if (size_bytes >= kHugePageBytes) (void)madvise(data, size_bytes, MADV_HUGEPAGE);
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = size_bytes;
  return memory;
}

void Memory::makeReadOnly() {
  if (data_ != nullptr) (void)mprotect(data_, size_, PROT_READ);
}

uint64_t availableMemoryBytes() {
  const uint64_t unlimited = std::numeric_limits<uint64_t>::max();
  const uint64_t machine = meminfoBytes("MemAvailable");
  const uint64_t limit = numberIn("/sys/fs/cgroup/memory.max", unlimited);
  const uint64_t current = numberIn("/sys/fs/cgroup/memory.current", 0);
  const uint64_t reclaimable = std::min(current, pageCacheOfGroupBytes());
  const uint64_t used = current - reclaimable;
  if (limit == unlimited) return machine;
  const uint64_t group = limit > used ? limit - used : 0;
  return machine == 0 ? group : std::min(machine, group);
}

Status checkMemoryFits(const MemoryNeed& need) {
  const uint64_t sum = saturatingAdd(saturatingAdd(need.weight_bytes, need.cache_bytes), need.activation_bytes);
  const uint64_t available = availableMemoryBytes();
  if (available == 0 || sum <= available) return {};
  return makeError(ErrorCode::kDoesNotFit, ErrorScope::kRank, "the program needs ", gib(sum), " of memory (weights ",
                   gib(need.weight_bytes), ", KV cache ", gib(need.cache_bytes), ", activations ",
                   gib(need.activation_bytes), "), but ", gib(available), " are available");
}

}  // namespace exo::runtime
