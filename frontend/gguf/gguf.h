// The GGUF container, versions 2 and 3, little-endian:
//   "GGUF" u32 version, u64 tensors, u64 keys, then keys: string, u32 type, value; then tensors: string, u32 dimensions,
//   u64 sizes (the innermost first), u32 type, u64 offset; padding to general.alignment, then the data the offsets count from.
// A string is u64 length and its bytes; an array u32 element type, u64 count and its elements.
// Nothing in a file is trusted. Texts and tensors are views into the file.
// Threads: immutable once parsed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "frontend/checkpoint/mapped_file.h"
#include "frontend/gguf/types.h"
#include "ir/base/result.h"

namespace exo {

/// Arrays of texts keep the texts, arrays of numbers the numbers: a vocabulary of 200 000 takes some megabytes.
struct GgufValue {
  std::variant<int64_t, double, bool, std::string_view, std::vector<int64_t>, std::vector<double>, std::vector<std::string_view>> value;
};

class GgufMetadata {
 public:
  GgufMetadata() = default;
  GgufMetadata(std::string where, std::map<std::string, GgufValue, std::less<>> values) : where_(std::move(where)), values_(std::move(values)) {}

  const std::string& where() const { return where_; }
  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }
  bool has(std::string_view key) const { return values_.contains(key); }

  // Absent: nullopt (integer and text without "find": an error). Another type than asked for: an error.
  Result<std::optional<int64_t>> findInteger(std::string_view key) const;
  Result<std::optional<double>> findNumber(std::string_view key) const;
  Result<std::optional<bool>> findBoolean(std::string_view key) const;
  Result<std::optional<std::string_view>> findText(std::string_view key) const;
  Result<int64_t> integer(std::string_view key) const;
  Result<std::string_view> text(std::string_view key) const;
  /// nullptr when absent.
  Result<const std::vector<std::string_view>*> findTexts(std::string_view key) const;
  Result<const std::vector<int64_t>*> findIntegers(std::string_view key) const;
  Result<const std::vector<double>*> findNumbers(std::string_view key) const;

 private:
  template <class T>
  Result<const T*> find(std::string_view key, const char* what) const;
  Error missing(std::string_view key, const char* what) const;

  std::string where_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

struct GgufTensor {
  std::string name;
  const GgufType* type = nullptr;
  std::vector<int64_t> shape;        // the outermost first, as everywhere in this project
  std::span<const std::byte> bytes;  // as many as shape and type need
};

struct GgufContents {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;
};

/// Checks a whole file image. `where` names it in errors.
Result<GgufContents> parseGguf(std::span<const std::byte> file, const std::string& where);

/// A model of one file, or of the files NAME-00001-of-0000N.gguf … that belong together.
class GgufModel {
 public:
  /// `path`: the only file, or any of the split ones.
  static Result<GgufModel> open(const std::filesystem::path& path);
  /// Of one image, which outlives it.
  static Result<GgufModel> parse(std::span<const std::byte> file, const std::string& where);

  /// Of the first file, which carries it.
  const GgufMetadata& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view name) const;
  const std::string& where() const { return metadata_.where(); }
  std::vector<const MappedFile*> files() const;

 private:
  Status add(GgufContents contents);

  std::vector<MappedFile> files_;
  GgufMetadata metadata_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

/// True for a path that ends in ".gguf".
bool isGguf(const std::filesystem::path& path);

}  // namespace exo
