// A model's weights as published: a Hugging Face directory (safetensors, quantised or not), one .safetensors file, or a
// GGUF file; in every case under the names that the families' graphs ask for.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "frontend/checkpoint/shards.h"
#include "frontend/checkpoint/stored_tensor.h"
#include "frontend/checkpoint/tensor_source.h"
#include "frontend/gguf/gguf.h"
#include "ir/base/result.h"

namespace exo {

/// Immutable after open. Memory: headers and one small object per weight; tensor data is mapped, and read row by row.
class Checkpoint : public TensorSource {
 public:
  /// `path`: a directory, a .safetensors or a .gguf file.  What a quantised directory's tensors mean, its config.json says.
  static Result<Checkpoint> open(const std::filesystem::path& path);

  bool contains(const std::string& name) const override { return tensors_.contains(name); }
  Result<TensorInfo> find(const TensorRef& tensor) const override;
  Status readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const override;
  /// Of every file (MappedFile::identity()), and of the config.json that says what quantised tensors mean.
  std::string identity() const override;
  bool readScales(const std::string& name, int64_t row, int64_t column, std::span<uint16_t> out) const override;

  /// The weight of this name, or nullptr.
  const StoredTensor* stored(const std::string& name) const;
  std::vector<std::string> names() const;  // sorted

 private:
  Checkpoint(std::string where, Shards shards, std::shared_ptr<const GgufModel> gguf, std::optional<MappedFile> config, StoredTensors tensors)
      : where_(std::move(where)), shards_(std::move(shards)), gguf_(std::move(gguf)), config_(std::move(config)), tensors_(std::move(tensors)) {}
  Result<const StoredTensor*> require(const TensorRef& tensor) const;

  std::string where_;
  Shards shards_;                            // what the tensors point into,
  std::shared_ptr<const GgufModel> gguf_;    // or this
  std::optional<MappedFile> config_;         // config.json of the shards
  StoredTensors tensors_;
};

}  // namespace exo
