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
  /// Its stamp and a checksum of its first MiB: a header, and some data. Reading all of a large checkpoint at every start
  /// would cost more than keeping what was made of it saves, so a change that leaves size, inode, times and beginning as they
  /// were goes unnoticed; no system call makes one. The path is no part of it: folders may be renamed. Empty when the path no
  /// longer leads to the file that was opened.
  std::string identity() const;

 private:
  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes, const FileStamp& stamp)
      : path_(std::move(path)), bytes_(bytes), stamp_(stamp) {}
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  FileStamp stamp_;   // as it was opened
};

}  // namespace exo
