// One GGUF model out of one or several files.
#include <cstdio>

#include "frontend/gguf/gguf.h"

namespace exo {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kMaxFiles = 10'000;

/// "model-00002-of-00003.gguf" → "model"; empty for other names.
std::string stemOfSplit(const std::string& name) {
  constexpr size_t kTail = sizeof("-00001-of-00002.gguf") - 1;
  if (name.size() <= kTail) return "";
  int number = 0, count = 0, end = 0;
  const char* tail = name.c_str() + name.size() - kTail;
  const bool matches = std::sscanf(tail, "-%5d-of-%5d.gguf%n", &number, &count, &end) == 2 && end == static_cast<int>(kTail);
  return matches ? name.substr(0, name.size() - kTail) : "";
}

std::string splitName(const std::string& stem, int64_t number, int64_t count) {
  char tail[64];
  std::snprintf(tail, sizeof(tail), "-%05d-of-%05d.gguf", static_cast<int>(number), static_cast<int>(count));
  return stem + tail;
}

Result<int64_t> splitCount(const GgufMetadata& metadata) {
  EXO_ASSIGN(const auto count, metadata.findInteger("split.count"));
  if (count.value_or(1) < 0 || count.value_or(1) > kMaxFiles) return invalid(metadata.where(), ": split.count: expected 1 to ", kMaxFiles, ", got ", *count);
  return std::max<int64_t>(count.value_or(1), 1);
}

}  // namespace

bool isGguf(const fs::path& path) { return path.extension() == ".gguf"; }

Status GgufModel::add(GgufContents contents) {
  for (GgufTensor& tensor : contents.tensors) {
    std::string name = tensor.name;
    if (!tensors_.emplace(name, std::move(tensor)).second) return invalid(contents.metadata.where(), ": ", name, ": expected each tensor once, got it twice");
  }
  return {};
}

Result<GgufModel> GgufModel::parse(std::span<const std::byte> file, const std::string& where) {
  GgufModel model;
  EXO_ASSIGN(GgufContents contents, parseGguf(file, where));
  model.metadata_ = contents.metadata;
  EXO_TRY(model.add(std::move(contents)));
  return model;
}

Result<GgufModel> GgufModel::open(const fs::path& path) {
  GgufModel model;
  const auto read = [&](const fs::path& file) -> Result<GgufContents> {
    EXO_ASSIGN(MappedFile mapped, MappedFile::open(file));
    model.files_.push_back(std::move(mapped));
    return parseGguf(model.files_.back().bytes(), file.string());
  };
  EXO_ASSIGN(GgufContents named, read(path));
  EXO_ASSIGN(const int64_t count, splitCount(named.metadata));
  if (count == 1) {
    model.metadata_ = named.metadata;
    EXO_TRY(model.add(std::move(named)));
    return model;
  }
  const std::string stem = stemOfSplit(path.filename().string());
  if (stem.empty()) return invalid(path.string(), ": expected a name like model-00001-of-", splitName("", 1, count).substr(10, 5), ".gguf for one of ", count, " files");
  model.files_.clear();
  for (int64_t number = 1; number <= count; ++number) {
    auto contents = read(path.parent_path() / splitName(stem, number, count));
    if (!contents.ok()) return std::move(contents).error().note("which belongs to " + path.string());
    EXO_ASSIGN(const auto index, contents->metadata.findInteger("split.no"));
    if (index != number - 1) return invalid(contents->metadata.where(), ": split.no: expected ", number - 1, ", got ", index.value_or(-1));
    if (number == 1) model.metadata_ = contents->metadata;
    EXO_TRY(model.add(std::move(*contents)));
  }
  EXO_ASSIGN(const auto total, model.metadata_.findInteger("split.tensors.count"));
  if (total && *total != static_cast<int64_t>(model.tensors_.size())) return invalid(path.string(), ": split.tensors.count: expected ", *total, " tensors in all files, got ", model.tensors_.size());
  return model;
}

const GgufTensor* GgufModel::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

std::vector<const MappedFile*> GgufModel::files() const {
  std::vector<const MappedFile*> files;
  for (const MappedFile& file : files_) files.push_back(&file);
  return files;
}

}  // namespace exo
