#include "frontend/checkpoint/checkpoint.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "frontend/checkpoint/to_float.h"
#include "frontend/config/json_reader.h"
#include "frontend/config/suggest.h"
#include "ir/base/checksum.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSampledBytes = 1 << 20;  // of each shard, for identity()

/// weight_map of an index: tensor name → file name. A file name must be a plain name: the index must not lead out of
/// its folder.
Result<std::map<std::string, std::string>> readWeightMap(const fs::path& index) {
  EXO_ASSIGN(const Json json, readJsonFile(index));
  EXO_ASSIGN(const JsonObject root, JsonObject::root(json, index.string()));
  EXO_ASSIGN(const JsonObject entries, root.object("weight_map"));
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, value] : entries.json().items()) {
    EXO_ASSIGN(const std::string shard, entries.string(name));
    const bool plain = fs::path(shard).filename() == shard && shard != ".." && shard != "." && !shard.empty() &&
                       shard.find('\0') == std::string::npos;
    if (!plain) return entries.expected(name, "a file name without a folder");
    weight_map[name] = shard;
  }
  if (weight_map.empty()) return root.expected("weight_map", "at least one tensor");
  return weight_map;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
  std::error_code code;
  Checkpoint checkpoint(path.string());
  if (!fs::is_directory(path, code)) {
    EXO_TRY(checkpoint.addShard(path));
    return checkpoint;
  }
  const fs::path single = path / "model.safetensors", index = path / "model.safetensors.index.json";
  if (fs::exists(single, code)) {
    EXO_TRY(checkpoint.addShard(single));
  } else if (fs::exists(index, code)) {
    EXO_TRY(checkpoint.addIndexed(index));
  } else {
    return makeError(ErrorCode::kNotFound, path.string(),
                     ": expected model.safetensors or model.safetensors.index.json, found neither");
  }
  return checkpoint;
}

Status Checkpoint::addShard(const fs::path& path) {
  EXO_ASSIGN(SafetensorsFile file, SafetensorsFile::open(path));
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const std::string& name = file.tensors()[i].name;
    const auto [existing, inserted] = tensors_.try_emplace(name, Location{shards_.size(), i});
    if (!inserted)
      return invalid(file.path(), ": ", name, ": expected each tensor in one shard, got it also in ",
                     shards_[existing->second.shard].path());
  }
  shards_.push_back(std::move(file));
  return {};
}

Status Checkpoint::addIndexed(const fs::path& index) {
  EXO_ASSIGN(const auto weight_map, readWeightMap(index));
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);
  for (const std::string& shard : shards) {
    Status added = addShard(index.parent_path() / shard);
    if (!added.ok()) return std::move(added).error().note("which " + index.string() + " names");
  }
  for (const auto& [name, shard] : weight_map) EXO_TRY(checkIndexed(name, shard, index));
  return {};
}

Status Checkpoint::checkIndexed(const std::string& name, const std::string& shard, const fs::path& index) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    return invalid(index.string(), ": ", name, ": expected in ", shard, ", but no shard has it");
  const std::string actual = fs::path(shards_[found->second.shard].path()).filename().string();
  if (actual != shard) return invalid(index.string(), ": ", name, ": expected in ", shard, ", got it in ", actual);
  return {};
}

const TensorView* Checkpoint::view(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return nullptr;
  return &shards_[found->second.shard].tensors()[found->second.tensor];
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, location] : tensors_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<const TensorView*> Checkpoint::require(const TensorRef& tensor) const {
  const TensorView* stored = view(tensor.name);
  if (!stored)
    return makeError(ErrorCode::kNotFound, where_, ": expected a tensor ", tensor.name, " ", shapeText(tensor.shape),
                     ", found none", didYouMean(tensor.name, names()));
  if (stored->shape != tensor.shape)
    return makeError(ErrorCode::kMismatch, where_, ": ", tensor.name, ": expected shape ", shapeText(tensor.shape),
                     " as the configuration says, got ", shapeText(stored->shape));
  return stored;
}

Result<TensorInfo> Checkpoint::find(const TensorRef& tensor) const {
  EXO_ASSIGN(const TensorView* stored, require(tensor));
  return TensorInfo{stored->dtype, stored->shape};
}

std::string Checkpoint::identity() const {
  std::ostringstream identity;
  identity << "checkpoint";
  for (const SafetensorsFile& shard : shards_) {
    const FileStamp& stamp = shard.file().stamp();
    const Result<FileStamp> now = MappedFile::stampOf(shard.path());
    if (!now.ok() || *now != stamp) return {};
    const auto bytes = shard.file().bytes();
    identity << "; " << stamp.size_bytes << " bytes, inode " << stamp.inode << ", modified " << stamp.modified_ns << ", changed " << stamp.changed_ns
             << ", begins with " << checksum(bytes.first(std::min(bytes.size(), kSampledBytes)));
  }
  return identity.str();
}

Status Checkpoint::readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const {
  checkSlice(tensor, slice, out);
  EXO_ASSIGN(const TensorView* stored, require(tensor));
  if (!convertsToFloat(stored->dtype))
    return makeError(ErrorCode::kUnsupported, where_, ": ", tensor.name, ": expected F32, BF16, F16 or F64, got ",
                     name(stored->dtype));
  const size_t element = sizeBytes(stored->dtype);
  const auto width = static_cast<size_t>(slice.columns());
  for (int64_t row = slice.row_begin; row < slice.row_end; ++row) {
    const auto first = static_cast<size_t>(row * tensor.columns() + slice.column_begin);
    const auto target = out.subspan(static_cast<size_t>(row - slice.row_begin) * width, width);
    toFloat(stored->dtype, stored->bytes.subspan(first * element, width * element), target);
  }
  return {};
}

}  // namespace exo
