// Large memory straight from the system: weights, caches, arena; zeroed, or that of a file. Sizes come from programs, which are untrusted: a
// request that cannot be met is an error with numbers, made before the kernel's out-of-memory killer has to decide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ir/base/result.h"

namespace exo::runtime {

enum class FileAccess { kRead, kReadWrite };

/// An owned mapping, page-aligned; huge pages are asked for from 2 MiB on.
class Memory {
 public:
  Memory() = default;
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  ~Memory();

  /// Anonymous and zeroed. Error kDoesNotFit naming `what` and the bytes. size 0 is an empty mapping.
  static Result<Memory> allocate(uint64_t size_bytes, const std::string& what);

  /// A part of a file, shared with all who map it; the mapping outlives `fd`. `offset_bytes` is a multiple of a page (of a
  /// huge one, to get them). The file must have the bytes and the disk blocks behind them: touching what it lacks ends the process.
  static Result<Memory> mapFile(int fd, uint64_t offset_bytes, uint64_t size_bytes, FileAccess access);

  /// From now on a write to it ends the process.
  void makeReadOnly();

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

/// Bytes this process may still allocate: the smaller of the machine's and its control group's. 0: unknown.
uint64_t availableMemoryBytes();

/// Error kDoesNotFit with the sum of the parts and what is available, if known and smaller.
struct MemoryNeed {
  uint64_t weight_bytes = 0, cache_bytes = 0, activation_bytes = 0;
};
Status checkMemoryFits(const MemoryNeed& need);

}  // namespace exo::runtime
