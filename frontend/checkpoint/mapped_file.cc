#include "frontend/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "ir/base/file_descriptor.h"

namespace exo {
namespace {

Error systemError(const std::filesystem::path& path, const char* what) {
  const int code = errno;
  const ErrorCode kind = code == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
  return makeError(kind, path.string(), ": cannot ", what, ": ", std::strerror(code));
}

int64_t nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

FileStamp stampFrom(const struct stat& status) {
  return {static_cast<uint64_t>(status.st_size), status.st_ino, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

}  // namespace

Result<FileStamp> MappedFile::stampOf(const std::filesystem::path& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return systemError(path, "stat");
  return stampFrom(status);
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a fifo by mistake must fail below instead of waiting for a writer.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return systemError(path, "open");
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return systemError(path, "stat");
  if (!S_ISREG(status.st_mode)) return invalid(path.string(), ": expected a regular file");
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) return MappedFile({}, stampFrom(status));
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) return systemError(path, "map");
  return MappedFile({static_cast<const std::byte*>(address), size}, stampFrom(status));
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})), stamp_(other.stamp_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(stamp_, other.stamp_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace exo
