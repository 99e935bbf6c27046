// A new file that takes its name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string_view>

#include "ir/base/result.h"

namespace exo {

/// Writes beside `path`; commit() renames. Without commit() the temporary file is removed.
class ReplacingFile {
 public:
  static Result<ReplacingFile> create(const std::filesystem::path& path);
  ReplacingFile(ReplacingFile&& other) noexcept;
  ReplacingFile& operator=(ReplacingFile&&) = delete;
  ~ReplacingFile();

  Status write(std::span<const std::byte> bytes);
  /// Flushes to disk and renames.
  Status commit() &&;

 private:
  ReplacingFile(std::FILE* file, std::filesystem::path path, std::filesystem::path temporary)
      : file_(file), path_(std::move(path)), temporary_(std::move(temporary)) {}
  std::FILE* file_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

/// The whole of a text file at once.
Status replaceFile(const std::filesystem::path& path, std::string_view text);

}  // namespace exo
