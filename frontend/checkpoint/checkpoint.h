// A Hugging Face checkpoint: model.safetensors, or the shards of model.safetensors.index.json.
#pragma once

#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "frontend/checkpoint/safetensors.h"
#include "frontend/checkpoint/tensor_source.h"
#include "ir/base/result.h"

namespace exo {

/// Immutable after open. Memory: the headers; tensor data is mapped.
class Checkpoint : public TensorSource {
 public:
  /// `path`: a directory (model.safetensors first, as transformers does, then the index), or one .safetensors file.
  /// With an index, every tensor must be in the shard it names, and no tensor in two shards. Tensors of a shard that
  /// the index does not list are readable too.
  static Result<Checkpoint> open(const std::filesystem::path& path);

  bool contains(const std::string& name) const override { return tensors_.contains(name); }
  Result<TensorInfo> find(const TensorRef& tensor) const override;
  Status readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const override;
  /// Of each shard its stamp and a checksum of its first MiB: the header, and some data. Reading all of a large checkpoint
  /// at every start would cost more than packing it saves, so a change that leaves size, inode, times and beginning as they
  /// were goes unnoticed; no system call makes one. A path is no part of it: folders may be renamed. Empty when a shard is
  /// no longer the file that was opened.
  std::string identity() const override;

  /// The stored tensor, or nullptr.
  const TensorView* view(const std::string& name) const;
  std::vector<std::string> names() const;  // sorted

 private:
  explicit Checkpoint(std::string where) : where_(std::move(where)) {}
  Status addShard(const std::filesystem::path& path);
  Status addIndexed(const std::filesystem::path& index);
  Status checkIndexed(const std::string& name, const std::string& shard, const std::filesystem::path& index) const;
  Result<const TensorView*> require(const TensorRef& tensor) const;

  struct Location {
    size_t shard;
    size_t tensor;
  };
  std::string where_;
  std::vector<SafetensorsFile> shards_;
  std::unordered_map<std::string, Location> tensors_;
};

}  // namespace exo
