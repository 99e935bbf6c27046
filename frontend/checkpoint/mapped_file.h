// A file mapped read-only into memory. Pages are read when first touched.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "ir/base/result.h"

namespace exo {

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

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace exo
