#include "executor/transport/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

namespace exo::transport {

Mapping::~Mapping() {
  if (!memory_.empty()) munmap(memory_.data(), memory_.size());
}

Result<Mapping> Mapping::map(int fd, size_t size_bytes, int flags) {
  void* memory = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED)
    return makeError(ErrorCode::kDoesNotFit, "cannot map ", size_bytes, " B for a link: ", errnoText(errno));
  return Mapping({static_cast<std::byte*>(memory), size_bytes});
}

Result<Mapping> Mapping::anonymous(size_t size_bytes) { return map(-1, size_bytes, MAP_PRIVATE | MAP_ANONYMOUS); }

// Populated at once: a page fault inside a step costs more than the message.
Result<Mapping> Mapping::shared(const FileDescriptor& fd, size_t size_bytes) {
  return map(fd.get(), size_bytes, MAP_SHARED | MAP_POPULATE);
}

Result<FileDescriptor> createSharedMemory(size_t size_bytes) {
  FileDescriptor fd(memfd_create("exo-link", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return makeError(ErrorCode::kIo, "memfd_create: ", errnoText(errno));
  if (fallocate(fd.get(), 0, 0, static_cast<off_t>(size_bytes)) != 0)
    return makeError(ErrorCode::kDoesNotFit, "cannot get ", size_bytes, " B of shared memory for a link: ", errnoText(errno));
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return makeError(ErrorCode::kIo, "cannot seal shared memory: ", errnoText(errno));
  return fd;
}

Status checkSharedMemory(const FileDescriptor& fd, size_t size_bytes) {
  const auto wrong = [](const auto&... parts) { return makeError(ErrorCode::kMismatch, ErrorScope::kLink, parts...); };
  struct stat info = {};
  if (!fd || fstat(fd.get(), &info) != 0) return wrong("the peer sent no shared memory");
  if (static_cast<size_t>(info.st_size) != size_bytes)
    return wrong("the peer's shared memory must have ", size_bytes, " B, got ", info.st_size);
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return wrong("the peer's shared memory is not sealed against shrinking");
  return {};
}

}  // namespace exo::transport
