#include "frontend/checkpoint/shards.h"

#include <algorithm>
#include <map>
#include <set>

#include "frontend/config/json_reader.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

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

Result<Shards> Shards::open(const fs::path& path) {
  std::error_code code;
  Shards shards;
  if (!fs::is_directory(path, code)) {
    EXO_TRY(shards.addShard(path));
    return shards;
  }
  const fs::path single = path / "model.safetensors", index = path / "model.safetensors.index.json";
  if (fs::exists(single, code)) {
    EXO_TRY(shards.addShard(single));
  } else if (fs::exists(index, code)) {
    EXO_TRY(shards.addIndexed(index));
  } else {
    return makeError(ErrorCode::kNotFound, path.string(),
                     ": expected model.safetensors or model.safetensors.index.json, found neither");
  }
  return shards;
}

Status Shards::addShard(const fs::path& path) {
  EXO_ASSIGN(SafetensorsFile file, SafetensorsFile::open(path));
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const std::string& name = file.tensors()[i].name;
    const auto [existing, inserted] = tensors_.try_emplace(name, Location{files_.size(), i});
    if (!inserted)
      return invalid(file.path(), ": ", name, ": expected each tensor in one shard, got it also in ",
                     files_[existing->second.shard].path());
  }
  files_.push_back(std::move(file));
  return {};
}

Status Shards::addIndexed(const fs::path& index) {
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

Status Shards::checkIndexed(const std::string& name, const std::string& shard, const fs::path& index) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    return invalid(index.string(), ": ", name, ": expected in ", shard, ", but no shard has it");
  const std::string actual = fs::path(files_[found->second.shard].path()).filename().string();
  if (actual != shard) return invalid(index.string(), ": ", name, ": expected in ", shard, ", got it in ", actual);
  return {};
}

const TensorView* Shards::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return nullptr;
  return &files_[found->second.shard].tensors()[found->second.tensor];
}

std::vector<std::string> Shards::names() const {
  std::vector<std::string> names;
  for (const auto& [name, location] : tensors_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<const MappedFile*> Shards::files() const {
  std::vector<const MappedFile*> files;
  for (const SafetensorsFile& file : files_) files.push_back(&file.file());
  return files;
}

}  // namespace exo
