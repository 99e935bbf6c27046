#include "frontend/checkpoint/latent_heads.h"

#include "frontend/config/common_config.h"

namespace exo {
namespace {

constexpr std::string_view kWeight = ".kv_b_proj.weight";

StoredTraits traitsOfPart(const StoredTensor& whole, std::vector<int64_t> shape) {
  StoredTraits traits = whole.traits();
  const auto elements = static_cast<uint64_t>(shape[0] * shape[1]), all = static_cast<uint64_t>(whole.rows() * whole.columns());
  traits.size_bytes = traits.size_bytes * elements / std::max<uint64_t>(all, 1);
  traits.shape = std::move(shape);
  return traits;
}

/// Rows first, first + 1, … of another tensor.
class RowsOf : public StoredTensor {
 public:
  RowsOf(Stored whole, int64_t first, int64_t rows) : StoredTensor(traitsOfPart(*whole, {rows, whole->columns()})), whole_(std::move(whole)), first_(first) {}
  Status readRow(int64_t row, int64_t column, std::span<float> out) const override { return whole_->readRow(first_ + row, column, out); }
  bool readScales(int64_t row, int64_t column, std::span<uint16_t> out) const override { return whole_->readScales(first_ + row, column, out); }

 private:
  Stored whole_;
  int64_t first_;
};

/// The same as columns. Blocks under one scale lie across: encodings in blocks do not repeat them.
class TransposedRowsOf : public StoredTensor {
 public:
  TransposedRowsOf(Stored whole, int64_t first, int64_t rows) : StoredTensor(traits(*whole, rows)), whole_(std::move(whole)), first_(first) {}
  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    for (size_t i = 0; i < out.size(); ++i) EXO_TRY(whole_->readRow(first_ + column + static_cast<int64_t>(i), row, out.subspan(i, 1)));
    return {};
  }

 private:
  static StoredTraits traits(const StoredTensor& whole, int64_t rows) {
    StoredTraits traits = traitsOfPart(whole, {whole.columns(), rows});
    traits.is_exact = traits.is_exact && !isBlocked(traits.encoding);
    return traits;
  }
  Stored whole_;
  int64_t first_;
};

}  // namespace

Result<LatentHeads> loadLatentHeads(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return LatentHeads{};
  EXO_ASSIGN(const Json json, readJsonFile(file));
  EXO_ASSIGN(const JsonObject object, JsonObject::root(json, file.string()));
  if (!object.has("kv_lora_rank")) return LatentHeads{};
  LatentHeads heads;
  EXO_ASSIGN(heads.heads, object.integer("num_attention_heads", {1, kMaxHeads}));
  EXO_ASSIGN(heads.key_dim, object.integer("qk_nope_head_dim", {1, kMaxHeadDim}));
  EXO_ASSIGN(heads.value_dim, object.integer("v_head_dim", {1, kMaxHeadDim}));
  return heads;
}

Status addLatentHeads(const LatentHeads& heads, StoredTensors& tensors) {
  if (heads.heads == 0) return {};
  std::vector<std::pair<std::string, Stored>> wholes;
  for (const auto& [name, stored] : tensors)
    if (name.ends_with(kWeight)) wholes.emplace_back(name, stored);
  const int64_t per_head = heads.key_dim + heads.value_dim;
  for (const auto& [name, whole] : wholes) {
    if (whole->traits().shape.size() != 2 || whole->rows() != heads.heads * per_head)
      return makeError(ErrorCode::kMismatch, name, ": expected ", heads.heads, " heads of ", heads.key_dim, " + ", heads.value_dim, " rows as the configuration says, got ", whole->rows(), " rows");
    const std::string path = name.substr(0, name.size() - std::string_view(".weight").size()) + ".heads.";
    for (int64_t head = 0; head < heads.heads; ++head) {
      const std::string own = path + std::to_string(head);
      tensors[own + ".key.weight"] = std::make_shared<TransposedRowsOf>(whole, head * per_head, heads.key_dim);
      tensors[own + ".value.weight"] = std::make_shared<RowsOf>(whole, head * per_head + heads.key_dim, heads.value_dim);
    }
  }
  return {};
}

}  // namespace exo
