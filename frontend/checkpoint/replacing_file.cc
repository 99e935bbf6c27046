#include "frontend/checkpoint/replacing_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace exo {
namespace {

Error systemError(const std::filesystem::path& path, const char* what) {
  return makeError(ErrorCode::kIo, path.string(), ": cannot ", what, ": ", std::strerror(errno));
}

}  // namespace

Result<ReplacingFile> ReplacingFile::create(const std::filesystem::path& path) {
  std::filesystem::path temporary = path;
  temporary += ".tmp-" + std::to_string(::getpid());
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (!file) return systemError(temporary, "create");
  return ReplacingFile(file, path, std::move(temporary));
}

ReplacingFile::ReplacingFile(ReplacingFile&& other) noexcept
    : file_(std::exchange(other.file_, nullptr)),
      path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)) {}

ReplacingFile::~ReplacingFile() {
  if (!file_) return;
  std::fclose(file_);
  ::unlink(temporary_.c_str());
}

Status ReplacingFile::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) return systemError(temporary_, "write");
  return {};
}

Status ReplacingFile::commit() && {
  if (std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0) return systemError(temporary_, "write");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return systemError(path_, "rename the new file to");
  std::fclose(std::exchange(file_, nullptr));
  return {};
}

Status replaceFile(const std::filesystem::path& path, std::string_view text) {
  EXO_ASSIGN(ReplacingFile file, ReplacingFile::create(path));
  EXO_TRY(file.write(std::as_bytes(std::span(text))));
  return std::move(file).commit();
}

}  // namespace exo
