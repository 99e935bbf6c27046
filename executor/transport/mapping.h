// Owned memory mappings: windows shared between two processes, and page-aligned private memory.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "executor/transport/socket.h"
#include "ir/base/result.h"

namespace exo::transport {

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~Mapping();

  /// Zeroed and private. kDoesNotFit with the size.
  static Result<Mapping> anonymous(size_t size_bytes);
  /// Shared with everyone who maps `fd`, all of it.
  static Result<Mapping> shared(const FileDescriptor& fd, size_t size_bytes);

  std::byte* data() const { return memory_.data(); }
  size_t size() const { return memory_.size(); }

 private:
  explicit Mapping(std::span<std::byte> memory) : memory_(memory) {}
  static Result<Mapping> map(int fd, size_t size_bytes, int flags);
  std::span<std::byte> memory_;
};

/// Nameless memory that can neither shrink nor grow (a peer that truncated it would kill us with SIGBUS) and that is
/// there in full. It vanishes with its last descriptor and mapping, however the processes end.
Result<FileDescriptor> createSharedMemory(size_t size_bytes);
/// kMismatch unless `fd` is memory of exactly that size, sealed against resizing.
Status checkSharedMemory(const FileDescriptor& fd, size_t size_bytes);

}  // namespace exo::transport
