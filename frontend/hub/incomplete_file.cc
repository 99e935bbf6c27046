#include "frontend/hub/incomplete_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace exo::hub {
namespace {

std::filesystem::path pathOf(const std::filesystem::path& blob) { return blob.string() + ".incomplete"; }

}  // namespace

IncompleteFile::IncompleteFile(std::filesystem::path blob, const RemoteFile& file, FileDescriptor fd, std::function<void(int64_t)> on_bytes)
    : blob_(std::move(blob)), file_(file), fd_(std::move(fd)), digest_(file.kind, file.size_bytes), on_bytes_(std::move(on_bytes)) {}

Error IncompleteFile::systemError(const char* what) const {
  const char* hint = errno == ENOSPC ? " (the disk is full)" : "";
  return makeError(ErrorCode::kIo, pathOf(blob_).string(), ": cannot ", what, ": ", std::strerror(errno), hint);
}

Result<IncompleteFile> IncompleteFile::open(std::filesystem::path blob, const RemoteFile& file, std::function<void(int64_t)> on_bytes) {
  FileDescriptor fd(::open(pathOf(blob).c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0644));
  IncompleteFile incomplete(std::move(blob), file, std::move(fd), std::move(on_bytes));
  if (!incomplete.fd_) return incomplete.systemError("open");
  EXO_TRY(incomplete.readWhatIsThere());
  return incomplete;
}

Status IncompleteFile::readWhatIsThere() {
  struct stat status;
  if (::fstat(fd_.get(), &status) != 0) return systemError("read");
  if (static_cast<uint64_t>(status.st_size) > file_.size_bytes) return restart();
  std::vector<std::byte> buffer(size_t{1} << 20);
  while (position_ < static_cast<uint64_t>(status.st_size)) {
    const ssize_t n = ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(position_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return systemError("read");
    digest_.add(std::span(buffer).first(static_cast<size_t>(n)));
    position_ += static_cast<uint64_t>(n);
  }
  on_bytes_(static_cast<int64_t>(position_));
  return {};
}

Status IncompleteFile::restart() {
  if (::ftruncate(fd_.get(), 0) != 0) return systemError("truncate");
  on_bytes_(-static_cast<int64_t>(position_));
  position_ = 0;
  digest_ = Digest(file_.kind, file_.size_bytes);
  return {};
}

Status IncompleteFile::write(std::span<const std::byte> bytes) {
  if (bytes.size() > file_.size_bytes - position_) return makeError(ErrorCode::kMismatch, file_.path, ": expected ", file_.size_bytes, " bytes, the server sends more");
  digest_.add(bytes);
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(position_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return systemError("write");
    position_ += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
    on_bytes_(n);
  }
  return {};
}

Status IncompleteFile::commit() {
  EXO_CHECK(position_ == file_.size_bytes) << position_ << " of " << file_.size_bytes << " bytes";
  if (const std::string digest = digest_.finish(); digest != file_.digest) {
    EXO_TRY(restart());
    return makeError(ErrorCode::kMismatch, file_.path, ": the bytes that came are not those the hub names: expected the digest ", file_.digest, ", got ", digest);
  }
  if (::fsync(fd_.get()) != 0) return systemError("write");
  std::error_code error;
  std::filesystem::rename(pathOf(blob_), blob_, error);
  if (error) return makeError(ErrorCode::kIo, "cannot rename ", pathOf(blob_).string(), ": ", error.message());
  return {};
}

}  // namespace exo::hub
