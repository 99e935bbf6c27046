#include "frontend/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "ir/base/checksum.h"
#include "ir/base/file_descriptor.h"

namespace exo {
namespace {

constexpr size_t kSampledBytes = 1 << 20;   // for identity()

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

std::string MappedFile::identity() const {
  struct stat now;
  if (::stat(path_.c_str(), &now) != 0 || stampFrom(now) != stamp_) return {};
  std::ostringstream text;
  text << stamp_.size_bytes << " bytes, inode " << stamp_.inode << ", modified " << stamp_.modified_ns << ", changed " << stamp_.changed_ns
       << ", begins with " << checksum(bytes_.first(std::min(bytes_.size(), kSampledBytes)));
  return text.str();
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a fifo by mistake must fail below instead of waiting for a writer.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return systemError(path, "open");
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return systemError(path, "stat");
  if (!S_ISREG(status.st_mode)) return invalid(path.string(), ": expected a regular file");
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) return MappedFile(path, {}, stampFrom(status));
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) return systemError(path, "map");
  return MappedFile(path, {static_cast<const std::byte*>(address), size}, stampFrom(status));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})), stamp_(other.stamp_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(stamp_, other.stamp_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace exo
