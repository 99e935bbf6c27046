#include "ir/base/owned_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace exo {
namespace {

Error systemError(const std::filesystem::path& path, const char* what) {
  const int code = errno;
  return makeError(code == ENOENT || code == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo, path.string(), ": cannot ", what, ": ", std::strerror(code));
}

Status checkOwner(const std::filesystem::path& path, const FileDescriptor& file, mode_t type, const char* type_name) {
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return systemError(path, "stat");
  if ((status.st_mode & S_IFMT) != type) return makeError(ErrorCode::kIo, path.string(), ": expected ", type_name);
  if (status.st_uid != ::geteuid())
    return makeError(ErrorCode::kIo, path.string(), ": expected it to belong to user ", ::geteuid(), ", it belongs to ", status.st_uid);
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return makeError(ErrorCode::kIo, path.string(), ": others may write to it (chmod go-w helps, if its content is yours)");
  return {};
}

}  // namespace

std::string userCacheDirectory() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') return std::string(cache) + "/exo";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return std::string(home) + "/.cache/exo";
  return "";
}

Result<FileDescriptor> openOwnedFile(const std::filesystem::path& path, int flags) {
  // O_NONBLOCK: a fifo must fail below instead of waiting for its other end.
  FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, S_IRUSR | S_IWUSR));
  if (!file) return systemError(path, "open");
  EXO_TRY(checkOwner(path, file, S_IFREG, "a regular file"));
  return file;
}

Status makeOwnedDirectory(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);  // its failure is mkdir's
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) return systemError(path, "create the directory");
  const FileDescriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return systemError(path, "open the directory");
  return checkOwner(path, directory, S_IFDIR, "a directory");
}

}  // namespace exo
