#include "frontend/checkpoint/gguf_tensors.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace exo {
namespace {

class GgufWeight : public StoredTensor {
 public:
  GgufWeight(StoredTraits traits, const GgufType& type, std::span<const std::byte> bytes)
      : StoredTensor(std::move(traits)), type_(type), data_(bytes.data()) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    std::array<float, kMaxGgufBlock> values;
    const auto end = column + static_cast<int64_t>(out.size());
    for (int64_t c = column; c < end;) {
      const int64_t first = c / type_.block_elements * type_.block_elements, last = std::min(end, first + type_.block_elements);
      type_.dequantise(blockAt(row, c), values.data());
      std::copy(values.begin() + (c - first), values.begin() + (last - first), out.begin() + (c - column));
      c = last;
    }
    return {};
  }

  bool readScales(int64_t row, int64_t column, std::span<uint16_t> out) const override {
    if (type_.scale == GgufScale::kNone) return false;
    for (size_t i = 0; i < out.size(); ++i) {
      const std::byte* block = blockAt(row, column + static_cast<int64_t>(i) * kQuantBlock);
      std::optional<uint16_t> half = std::to_integer<uint16_t>(block[0]) | std::to_integer<uint16_t>(block[1]) << 8;
      if (type_.scale == GgufScale::kHalfE8m0) half = exactHalf(std::ldexp(1.0f, std::to_integer<int>(block[0]) - 128));
      if (!half) return false;
      out[i] = *half;
    }
    return true;
  }

 private:
  const std::byte* blockAt(int64_t row, int64_t column) const {
    return data_ + (row * columns() + column) / type_.block_elements * type_.block_bytes;
  }

  const GgufType& type_;
  const std::byte* data_;
};

/// Rows of heads whose rope turns neighbours, in the order in which it turns halves: row j + s·D/2 of a head is 2j + s.
/// A bias is the same along its columns.
class UnpairedHeads : public StoredTensor {
 public:
  UnpairedHeads(Stored inner, int64_t head_dim) : StoredTensor(inner->traits()), inner_(std::move(inner)), head_dim_(head_dim) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    if (traits().shape.size() == 2) return inner_->readRow(paired(row), column, out);
    for (size_t i = 0; i < out.size(); ++i) EXO_TRY(inner_->readRow(0, paired(column + static_cast<int64_t>(i)), out.subspan(i, 1)));
    return {};
  }
  bool readScales(int64_t row, int64_t column, std::span<uint16_t> out) const override {
    return traits().shape.size() == 2 && inner_->readScales(paired(row), column, out);
  }

 private:
  int64_t paired(int64_t row) const {
    const int64_t inside = row % head_dim_;
    return row - inside + inside % (head_dim_ / 2) * 2 + inside / (head_dim_ / 2);
  }

  Stored inner_;
  int64_t head_dim_;
};

struct Name {
  std::string_view gguf, ours;
};
/// Below blk.N and model.layers.N; with ".weight" or ".bias".
constexpr std::array kLayerNames = {
    Name{"attn_norm", "input_layernorm"},       Name{"attn_q", "self_attn.q_proj"},           Name{"attn_qkv", "self_attn.qkv_proj"},
    Name{"post_attention_norm", "post_attention_layernorm"}, Name{"post_ffw_norm", "post_feedforward_layernorm"},
    Name{"attn_k", "self_attn.k_proj"},         Name{"attn_v", "self_attn.v_proj"},           Name{"attn_output", "self_attn.o_proj"},
    Name{"attn_q_norm", "self_attn.q_norm"},    Name{"attn_k_norm", "self_attn.k_norm"},      Name{"ffn_gate", "mlp.gate_proj"},
    Name{"ffn_down", "mlp.down_proj"},          Name{"ffn_gate_shexp", "SHARED.gate_proj"},   Name{"ffn_up_shexp", "SHARED.up_proj"},
    Name{"ffn_down_shexp", "SHARED.down_proj"},
};
constexpr std::array kModelNames = {
    Name{"token_embd.weight", "model.embed_tokens.weight"}, Name{"output_norm.weight", "model.norm.weight"}, Name{"output.weight", "lm_head.weight"}};

/// Experts: blk.N.ffn_gate_exps [E, rows, columns], in older files blk.N.ffn_gate.E.
struct ExpertNames {
  std::string_view gguf, usual, mixtral;
};
constexpr std::array kExpertNames = {ExpertNames{"ffn_gate", "gate_proj", "w1"}, ExpertNames{"ffn_up", "up_proj", "w3"}, ExpertNames{"ffn_down", "down_proj", "w2"}};

StoredTraits traitsOf(const GgufTensor& tensor, std::vector<int64_t> shape) {
  const GgufType& type = *tensor.type;
  StoredTraits traits{std::move(shape), std::string(type.name), tensor.bytes.size(), Encoding::kW8, false};
  if (type.block_elements == 1) {
    traits.encoding = type.name == "F16" ? Encoding::kF16 : type.name == "BF16" ? Encoding::kBF16 : Encoding::kF32;
    traits.is_exact = type.name != "F64";
  } else if (type.scale != GgufScale::kNone) {
    traits.encoding = type.fits_four_bits ? Encoding::kW4 : Encoding::kW8;
    traits.is_exact = true;
  }
  return traits;
}

class Builder {
 public:
  Builder(const GgufModel& model, const GgufArchitecture& architecture, const ModelConfig& config) : model_(model), architecture_(architecture), config_(config) {}

  Result<StoredTensors> run() {
    for (const auto& [name, tensor] : model_.tensors()) {
      if (name == "rope_freqs.weight" || name == "rope_factors_long.weight" || name == "rope_factors_short.weight") continue;  // read with the configuration
      if (!tensor.type->dequantise)
        return makeError(ErrorCode::kUnsupported, model_.where(), ": ", name, ": expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL or MXFP4, got ",
                         tensor.type->name);
      EXO_ASSIGN(const bool known, add(name, tensor));
      if (!known) return makeError(ErrorCode::kUnsupported, model_.where(), ": ", name, ": this tensor is not known in architecture ", architecture_.name);
    }
    return std::move(tensors_);
  }

 private:
  Result<bool> add(const std::string& name, const GgufTensor& tensor) {
    for (const auto& [gguf, ours] : kModelNames)
      if (name == gguf) return addWhole(std::string(ours), tensor);
    if (!name.starts_with("blk.")) return false;
    int64_t layer = -1;
    const auto [rest, error] = std::from_chars(name.data() + 4, name.data() + name.size(), layer);
    if (error != std::errc() || layer < 0 || rest == name.data() + name.size() || *rest != '.') return false;
    if (layer >= config_.num_layers) return true;  // of those that predict further tokens
    const std::string_view inside(rest + 1, static_cast<size_t>(name.data() + name.size() - rest - 1));
    const size_t dot = inside.rfind('.');
    if (dot == std::string_view::npos) return false;
    return addInLayer("model.layers." + std::to_string(layer) + ".", inside.substr(0, dot), std::string(inside.substr(dot)), tensor);
  }

  Result<bool> addInLayer(const std::string& layer, std::string_view name, const std::string& kind, const GgufTensor& tensor) {
    if (kind != ".weight" && kind != ".bias") return false;
    if (name == "ffn_norm") return addWhole(layer + (config_.norms == NormPlaces::kBoth ? "pre_feedforward_layernorm" : "post_attention_layernorm") + kind, tensor);
    if (name == "ffn_up") return addWhole(layer + (config_.fused_projections ? "mlp.gate_up_proj" : "mlp.up_proj") + kind, tensor);
    if (name == "attn_sinks" && config_.family == "gpt_oss") return addWhole(layer + "self_attn.sinks", tensor);
    for (const auto& [gguf, ours] : kLayerNames)
      if (name == gguf) return addWhole(layer + named(ours) + kind, tensor, name == "attn_q" || name == "attn_k");
    const bool is_mixtral = config_.family == "mixtral";
    const std::string block = layer + (is_mixtral ? "block_sparse_moe" : "mlp");
    if (name == "ffn_gate_inp") return addWhole(block + (config_.family == "gpt_oss" ? ".router" : ".gate") + kind, tensor);
    if (name == "exp_probs_b") return addWhole(block + ".gate.e_score_correction_bias", tensor);
    if (name == "ffn_gate_inp_shexp") return addRow(block + ".shared_expert_gate" + kind, tensor);
    for (const ExpertNames& names : kExpertNames) {
      const auto target = [&](std::string_view expert) { return block + ".experts." + std::string(expert) + "." + std::string(is_mixtral ? names.mixtral : names.usual) + kind; };
      if (name == std::string(names.gguf) + "_exps") return addStack(target, tensor);
      if (name.starts_with(std::string(names.gguf) + ".")) return addWhole(target(name.substr(names.gguf.size() + 1)), tensor);
    }
    return false;
  }

  /// What the family calls its shared expert.
  std::string named(std::string_view ours) const {
    constexpr std::string_view kShared = "SHARED";
    if (!ours.starts_with(kShared)) return std::string(ours);
    return (config_.family == "qwen2_moe" ? "mlp.shared_expert" : "mlp.shared_experts") + std::string(ours.substr(kShared.size()));
  }

  /// A matrix of one row, kept as a vector.
  Result<bool> addRow(const std::string& name, const GgufTensor& tensor) {
    GgufTensor row = tensor;
    if (row.shape.size() == 1) row.shape = {1, row.shape[0]};
    return addWhole(name, row);
  }

  /// A matrix or a vector; `heads`: of rows that rope turns.
  Result<bool> addWhole(const std::string& name, const GgufTensor& tensor, bool heads = false) {
    if (tensor.shape.size() > 2) return invalid(model_.where(), ": ", tensor.name, ": expected one or two dimensions, got ", tensor.shape.size());
    Stored stored = std::make_shared<GgufWeight>(traitsOf(tensor, tensor.shape), *tensor.type, tensor.bytes);
    if (heads && architecture_.pairs_rope) {
      if (tensor.shape[0] % config_.head_dim != 0) return invalid(model_.where(), ": ", tensor.name, ": expected whole heads of ", config_.head_dim, ", got ", tensor.shape[0], " rows");
      stored = std::make_shared<UnpairedHeads>(std::move(stored), config_.head_dim);
    }
    return emplace(name, std::move(stored));
  }

  template <class Target>
  Result<bool> addStack(const Target& target, const GgufTensor& tensor) {
    const size_t rank = tensor.name.ends_with(".bias") ? 2 : 3;
    if (tensor.shape.size() != rank)
      return invalid(model_.where(), ": ", tensor.name, ": expected ", rank == 2 ? "[experts, rows]" : "[experts, rows, columns]", ", got ", tensor.shape.size(), " dimensions");
    const int64_t experts = tensor.shape[0];
    for (int64_t expert = 0; expert < experts; ++expert) {
      GgufTensor own = tensor;
      own.shape.erase(own.shape.begin());
      const size_t size = tensor.bytes.size() / static_cast<size_t>(experts);
      own.bytes = tensor.bytes.subspan(static_cast<size_t>(expert) * size, size);
      EXO_TRY(emplace(target(std::to_string(expert)), std::make_shared<GgufWeight>(traitsOf(own, own.shape), *own.type, own.bytes)));
    }
    return true;
  }

  Result<bool> emplace(const std::string& name, Stored stored) {
    if (!tensors_.emplace(name, std::move(stored)).second) return invalid(model_.where(), ": ", name, ": expected one stored form of this weight, got two");
    return true;
  }

  const GgufModel& model_;
  const GgufArchitecture& architecture_;
  const ModelConfig& config_;
  StoredTensors tensors_;
};

}  // namespace

Result<StoredTensors> ggufTensors(const GgufModel& model) {
  EXO_ASSIGN(const GgufArchitecture* architecture, ggufArchitecture(model.metadata()));
  EXO_ASSIGN(const ModelConfig config, readGgufConfig(model));
  return Builder(model, *architecture, config).run();
}

}  // namespace exo
