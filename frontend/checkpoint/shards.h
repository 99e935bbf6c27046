// The tensors of a safetensors checkpoint as its files name them: model.safetensors, or the shards of an index.
#pragma once

#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "frontend/checkpoint/safetensors.h"
#include "ir/base/result.h"

namespace exo {

/// Immutable after open. Memory: the headers; tensor data is mapped.
class Shards {
 public:
  /// `path`: a directory (model.safetensors first, as transformers does, then the index), or one .safetensors file.
  /// With an index, every tensor must be in the shard it names, and no tensor in two shards. Tensors of a shard that
  /// the index does not list are readable too.
  static Result<Shards> open(const std::filesystem::path& path);

  /// The stored tensor, or nullptr.
  const TensorView* find(const std::string& name) const;
  std::vector<std::string> names() const;  // sorted
  std::vector<const MappedFile*> files() const;

 private:
  Status addShard(const std::filesystem::path& path);
  Status addIndexed(const std::filesystem::path& index);
  Status checkIndexed(const std::string& name, const std::string& shard, const std::filesystem::path& index) const;

  struct Location {
    size_t shard;
    size_t tensor;
  };
  std::vector<SafetensorsFile> files_;
  std::unordered_map<std::string, Location> tensors_;
};

}  // namespace exo
