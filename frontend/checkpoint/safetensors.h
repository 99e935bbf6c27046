// The safetensors format: u64 little-endian header size N, N bytes of JSON
//   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, …, "__metadata__": {string: string}}
// then the data section that the offsets count from. Elements are row-major and little-endian, possibly unaligned.
// Nothing in a file is trusted. As the format demands, tensors must cover the data section exactly: overlaps, gaps and
// trailing bytes are refused (a gap cannot be told from a wrong offset).
// Threads: a SafetensorsFile is immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/checkpoint/mapped_file.h"
#include "frontend/config/dtype.h"
#include "ir/base/result.h"

namespace exo {

constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // of the file; as many as shape × dtype, any alignment

  int64_t numElements() const;
};

/// "[2, 3]"
std::string shapeText(std::span<const int64_t> shape);

struct SafetensorsHeader {
  std::vector<TensorView> tensors;  // sorted by name
  std::map<std::string, std::string> metadata;
};

/// Checks a whole file image. The views point into `file`; `where` names it in errors.
Result<SafetensorsHeader> parseSafetensors(std::span<const std::byte> file, const std::string& where);

class SafetensorsFile {
 public:
  /// Maps the file and checks its header; tensor data is not touched.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  std::span<const TensorView> tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const MappedFile& file() const { return file_; }
  /// nullptr if there is none of this name.
  const TensorView* find(std::string_view name) const;

 private:
  SafetensorsFile(MappedFile file, SafetensorsHeader header, std::string path)
      : file_(std::move(file)), header_(std::move(header)), path_(std::move(path)) {}
  MappedFile file_;
  SafetensorsHeader header_;
  std::string path_;
};

/// A tensor to be written. `bytes` must live until it is.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  static TensorToWrite f32(std::string name, std::vector<int64_t> shape, std::span<const float> values);
  static TensorToWrite i64(std::string name, std::vector<int64_t> shape, std::span<const int64_t> values);
};

/// Writes PATH.tmp-PID beside the target, then renames it: a reader sees the old file or the whole new one.
/// Errors: kInvalidInput (sizes that do not match the shape, equal names), kIo.
Status writeSafetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors);

}  // namespace exo
