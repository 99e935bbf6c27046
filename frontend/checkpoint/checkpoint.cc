#include "frontend/checkpoint/checkpoint.h"

#include <algorithm>
#include <map>

#include "frontend/checkpoint/gguf_tensors.h"
#include "frontend/checkpoint/latent_heads.h"
#include "frontend/checkpoint/logical_tensors.h"
#include "frontend/config/quantization.h"
#include "frontend/config/suggest.h"
#include "frontend/config/text_part.h"

namespace exo {

namespace fs = std::filesystem;

namespace {

/// From the names that a language model's tensors have by themselves to those in the files, sorted.
Result<std::map<std::string, std::string>> textNames(const Shards& shards, const fs::path& path) {
  std::map<std::string, std::string> names;
  for (const std::string& stored : shards.names()) {
    const auto [at, is_new] = names.emplace(textTensorName(stored), stored);
    if (!is_new) return invalid(path.string(), ": expected one tensor ", at->first, ", got ", at->second, " and ", stored);
  }
  return names;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
  if (isGguf(path)) {
    EXO_ASSIGN(GgufModel opened, GgufModel::open(path));
    auto gguf = std::make_shared<const GgufModel>(std::move(opened));
    EXO_ASSIGN(StoredTensors tensors, ggufTensors(*gguf));
    return Checkpoint(path.string(), Shards(), std::move(gguf), std::nullopt, std::move(tensors));
  }
  std::error_code code;
  EXO_ASSIGN(Shards shards, Shards::open(path));
  const fs::path directory = fs::is_directory(path, code) ? path : path.parent_path();
  EXO_ASSIGN(const QuantizationConfig config, loadQuantization(directory));
  std::optional<MappedFile> config_file;
  if (fs::exists(directory / "config.json", code)) {
    EXO_ASSIGN(MappedFile file, MappedFile::open(directory / "config.json"));
    config_file.emplace(std::move(file));
  }
  EXO_ASSIGN(const auto stored_names, textNames(shards, path));
  RawTensors raw{{}, [&](const std::string& name) {
                   const auto stored = stored_names.find(name);
                   return stored == stored_names.end() ? nullptr : shards.find(stored->second);
                 }};
  for (const auto& [name, stored] : stored_names) raw.names.push_back(name);
  auto tensors = logicalTensors(raw, config);
  if (!tensors.ok()) return std::move(tensors).error().note("while opening " + path.string());
  EXO_ASSIGN(const LatentHeads latent, loadLatentHeads(directory));
  if (Status added = addLatentHeads(latent, *tensors); !added.ok()) return std::move(added).error().note("while opening " + path.string());
  return Checkpoint(path.string(), std::move(shards), nullptr, std::move(config_file), std::move(*tensors));
}

const StoredTensor* Checkpoint::stored(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.get();
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<const StoredTensor*> Checkpoint::require(const TensorRef& tensor) const {
  const StoredTensor* found = stored(tensor.name);
  if (!found) {
    if (const TensorView* raw = shards_.find(tensor.name))
      return makeError(ErrorCode::kUnsupported, where_, ": ", tensor.name, ": expected F32, BF16, F16, F64 or a known quantised form, got ", name(raw->dtype), " ",
                       shapeText(raw->shape));
    return makeError(ErrorCode::kNotFound, where_, ": expected a tensor ", tensor.name, " ", shapeText(tensor.shape), ", found none",
                     didYouMean(tensor.name, names()));
  }
  if (found->traits().shape != tensor.shape)
    return makeError(ErrorCode::kMismatch, where_, ": ", tensor.name, ": expected shape ", shapeText(tensor.shape), " as the configuration says, got ",
                     shapeText(found->traits().shape));
  return found;
}

Result<TensorInfo> Checkpoint::find(const TensorRef& tensor) const {
  EXO_ASSIGN(const StoredTensor* found, require(tensor));
  return TensorInfo{found->traits().format, found->traits().shape};
}

std::string Checkpoint::identity() const {
  std::string identity = "checkpoint";
  for (const MappedFile* file : gguf_ ? gguf_->files() : shards_.files()) {
    const std::string part = file->identity();
    if (part.empty()) return {};
    identity += "; " + part;
  }
  return config_ ? identity + "; config " + config_->identity() : identity;
}

Status Checkpoint::readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const {
  checkSlice(tensor, slice, out);
  EXO_ASSIGN(const StoredTensor* found, require(tensor));
  const auto width = static_cast<size_t>(slice.columns());
  for (int64_t row = slice.row_begin; row < slice.row_end && width > 0; ++row)
    EXO_TRY(found->readRow(row, slice.column_begin, out.subspan(static_cast<size_t>(row - slice.row_begin) * width, width)));
  return {};
}

bool Checkpoint::readScales(const std::string& name, int64_t row, int64_t column, std::span<uint16_t> out) const {
  const StoredTensor* found = stored(name);
  return found && column % kQuantBlock == 0 && found->readScales(row, column, out);
}

}  // namespace exo
