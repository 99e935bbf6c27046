// A file mapped read-only into memory. Pages are read when first touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "ir/base/result.h"

namespace exo {

/// Which content a file has, as far as its directory entry tells. The change time cannot be set by users, so a file that was
/// written to, or replaced by another of the same size and modification time, has another stamp. So may a mere copy.
struct FileStamp {
  uint64_t size_bytes = 0, inode = 0;
  int64_t modified_ns = 0, changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

/// Movable owner of one mapping. A file that another process shortens while it is mapped raises SIGBUS on access
/// beyond its new end: checkpoints must be replaced by rename, as every download tool and our writer do.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  /// As it was opened.
  const FileStamp& stamp() const { return stamp_; }
  /// Of the file that has this path now.
  static Result<FileStamp> stampOf(const std::filesystem::path& path);

 private:
  MappedFile(std::span<const std::byte> bytes, const FileStamp& stamp) : bytes_(bytes), stamp_(stamp) {}
  std::span<const std::byte> bytes_;
  FileStamp stamp_;
};

}  // namespace exo
