#include "frontend/config/gguf_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>

#include "frontend/config/suggest.h"

namespace exo {
namespace {

constexpr std::array kArchitectures = {
    GgufArchitecture{"gemma2", "gemma2"},
    GgufArchitecture{"gemma3", "gemma3_text"},
    GgufArchitecture{"glm4moe", "glm4_moe"},
    GgufArchitecture{"gpt-oss", "gpt_oss"},
    GgufArchitecture{"llama", "llama", true},
    GgufArchitecture{"olmo2", "olmo2"},
    GgufArchitecture{"phi3", "phi3"},
    GgufArchitecture{"qwen2", "qwen2"},
    GgufArchitecture{"qwen2moe", "qwen2_moe"},
    GgufArchitecture{"qwen3", "qwen3"},
    GgufArchitecture{"qwen3moe", "qwen3_moe"},
};

/// Keys below the architecture's name that are read here, or change nothing.
const std::vector<std::string> kKnownKeys = {
    "context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "attention.sliding_window", "attention.causal",
    "rope.dimension_count", "rope.freq_base", "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.attn_factor",
    "rope.scaling.original_context_length", "rope.scaling.finetuned", "expert_count", "expert_used_count", "expert_feed_forward_length",
    "tensor_data_layout"};

/// The same, of single families.
const std::map<std::string_view, std::vector<std::string>> kFamilyKeys = {
    {"gemma2", {"attn_logit_softcapping", "final_logit_softcapping"}},
    {"gemma3_text", {"final_logit_softcapping"}},
    {"glm4_moe", {"expert_shared_count", "expert_weights_scale", "expert_weights_norm", "expert_gating_func", "leading_dense_block_count", "nextn_predict_layers",
                  "expert_group_count", "expert_group_used_count"}},
    {"qwen2_moe", {"expert_shared_feed_forward_length"}}};

bool isOneOf(std::string_view name, std::initializer_list<std::string_view> names) { return std::find(names.begin(), names.end(), name) != names.end(); }

/// The decimal number that an f32 stands for: 1e-6, where the f32 nearest to it was written.
double shortest(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value || !std::isfinite(value)) return value;
  std::array<char, 64> text;
  const auto written = std::to_chars(text.data(), text.data() + text.size(), narrow);
  double exact = value;
  std::from_chars(text.data(), written.ptr, exact);
  return exact;
}

class Translator {
 public:
  Translator(const GgufModel& model, const GgufArchitecture& architecture, std::string_view family)
      : model_(model), metadata_(model.metadata()), prefix_(std::string(architecture.name) + "."), family_(family) {}

  Result<Json> run() {
    EXO_TRY(refuseUnknownKeys());
    EXO_TRY(sizes());
    EXO_TRY(rope());
    EXO_TRY(experts());
    EXO_TRY(tokens());
    EXO_TRY(window());
    if (family_.starts_with("gemma")) EXO_TRY(gemma());
    json_["model_type"] = family_;
    json_["tie_word_embeddings"] = model_.find("output.weight") == nullptr;
    json_["attention_bias"] = !isOneOf(family_, {"qwen2", "qwen2_moe"}) && model_.find("blk.0.attn_q.bias") != nullptr;
    json_["mlp_bias"] = model_.find("blk.0.ffn_gate.bias") != nullptr;
    return std::move(json_);
  }

 private:
  std::string key(const std::string& name) const { return prefix_ + name; }

  Status refuseUnknownKeys() const {
    std::vector<std::string> known = kKnownKeys;
    if (const auto own = kFamilyKeys.find(family_); own != kFamilyKeys.end()) known.insert(known.end(), own->second.begin(), own->second.end());
    for (const auto& [name, value] : metadata_.values()) {
      if (!name.starts_with(prefix_)) continue;
      const std::string rest = name.substr(prefix_.size());
      if (std::find(known.begin(), known.end(), rest) == known.end())
        return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", name, ": this key is not known", didYouMean(rest, known));
    }
    EXO_ASSIGN(const auto causal, metadata_.findBoolean(key("attention.causal")));
    if (!causal.value_or(true)) return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", key("attention.causal"), ": expected true, got false");
    return {};
  }

  /// A number for all layers, or a list that says the same for each.
  Result<int64_t> perLayer(const std::string& name) const {
    const auto found = metadata_.values().find(key(name));
    if (found == metadata_.values().end() || !std::holds_alternative<std::vector<int64_t>>(found->second.value)) return metadata_.integer(key(name));
    const auto& list = std::get<std::vector<int64_t>>(found->second.value);
    if (list.empty() || std::any_of(list.begin(), list.end(), [&](int64_t value) { return value != list[0]; }))
      return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", key(name), ": expected the same for all layers, got a list of different numbers");
    return list[0];
  }

  Status sizes() {
    EXO_ASSIGN(json_["hidden_size"], metadata_.integer(key("embedding_length")));
    // Layers that predict further tokens are counted, and not used.
    EXO_ASSIGN(const int64_t blocks, metadata_.integer(key("block_count")));
    EXO_ASSIGN(const auto further, metadata_.findInteger(key("nextn_predict_layers")));
    if (further.value_or(0) < 0 || further.value_or(0) >= blocks) return invalid(metadata_.where(), ": ", key("nextn_predict_layers"), ": expected less than the ", blocks, " blocks, got ", *further);
    json_["num_hidden_layers"] = blocks - further.value_or(0);
    EXO_ASSIGN(json_["max_position_embeddings"], metadata_.integer(key("context_length")));
    EXO_ASSIGN(json_["intermediate_size"], perLayer("feed_forward_length"));
    EXO_ASSIGN(json_["num_attention_heads"], perLayer("attention.head_count"));
    const bool grouped = metadata_.has(key("attention.head_count_kv"));
    EXO_ASSIGN(json_["num_key_value_heads"], perLayer(grouped ? "attention.head_count_kv" : "attention.head_count"));
    EXO_ASSIGN(const auto epsilon, metadata_.findNumber(key("attention.layer_norm_rms_epsilon")));
    if (!epsilon) return invalid(metadata_.where(), ": ", key("attention.layer_norm_rms_epsilon"), ": expected a number, but it is missing");
    json_["rms_norm_eps"] = shortest(*epsilon);
    const GgufTensor* table = model_.find("token_embd.weight");
    if (!table || table->shape.size() != 2) return makeError(ErrorCode::kNotFound, metadata_.where(), ": expected a tensor token_embd.weight [vocabulary, hidden], found none");
    json_["vocab_size"] = table->shape[0];
    return headDim();
  }

  Status headDim() {
    const int64_t heads = json_["num_attention_heads"], hidden = json_["hidden_size"];
    EXO_ASSIGN(const auto key_length, metadata_.findInteger(key("attention.key_length")));
    EXO_ASSIGN(const auto value_length, metadata_.findInteger(key("attention.value_length")));
    const int64_t head_dim = key_length.value_or(heads > 0 ? hidden / heads : 0);
    if (value_length.value_or(head_dim) != head_dim)
      return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", key("attention.value_length"), ": expected the key's length ", head_dim, ", got ", *value_length);
    EXO_ASSIGN(const auto rotated, metadata_.findInteger(key("rope.dimension_count")));
    // Half an element more than the quotient: it is rounded down to whole elements again.
    if (isOneOf(family_, {"phi3", "glm4_moe"}) && rotated && head_dim > 0 && *rotated < head_dim)
      json_["partial_rotary_factor"] = (static_cast<double>(*rotated) + 0.5) / static_cast<double>(head_dim);
    else if (rotated.value_or(head_dim) != head_dim)
      return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", key("rope.dimension_count"), ": expected the head's size ", head_dim, " (whole heads are rotated), got ", *rotated);
    if (key_length || (heads > 0 && hidden % heads == 0)) json_["head_dim"] = head_dim;
    return {};
  }

  Status rope() {
    if (model_.find("rope_factors_long.weight") || model_.find("rope_factors_short.weight")) return longRope();
    EXO_ASSIGN(const auto theta, metadata_.findNumber(key("rope.freq_base")));
    json_["rope_theta"] = shortest(theta.value_or(10000.0));
    EXO_ASSIGN(const auto linear, metadata_.findNumber(key("rope.scale_linear")));
    if (linear && *linear != 1.0) json_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", shortest(*linear)}};
    EXO_ASSIGN(const auto type, metadata_.findText(key("rope.scaling.type")));
    if (!type || *type == "none") return {};
    EXO_ASSIGN(const auto factor, metadata_.findNumber(key("rope.scaling.factor")));
    EXO_ASSIGN(const auto original, metadata_.findInteger(key("rope.scaling.original_context_length")));
    EXO_ASSIGN(const auto attention, metadata_.findNumber(key("rope.scaling.attn_factor")));
    Json scaling = {{"rope_type", std::string(*type)}};
    if (factor) scaling["factor"] = shortest(*factor);
    if (*type == "yarn" && original) scaling["original_max_position_embeddings"] = *original;
    // The file's factor multiplies what yarn computes from its own.
    if (*type == "yarn" && attention && factor) scaling["attention_factor"] = shortest(*attention) * (1.0 + 0.1 * std::log(*factor));
    if (family_ == "gpt_oss") scaling["truncate"] = false;  // no key: the architecture has it so
    json_["rope_scaling"] = std::move(scaling);
    return {};
  }

  Result<Json> ropeFactors(const std::string& name) const {
    const GgufTensor* factors = model_.find(name);
    if (!factors || factors->type->name != "F32" || factors->shape.size() != 1)
      return invalid(metadata_.where(), ": ", name, ": expected a list of F32, as there is one of long and one of short factors");
    Json list = Json::array();
    for (int64_t i = 0; i < factors->shape[0]; ++i) {
      float factor;
      std::memcpy(&factor, factors->bytes.data() + 4 * i, 4);
      list.push_back(shortest(factor));
    }
    return list;
  }

  /// The factors are tensors. What multiplies cos and sin is written down.
  Status longRope() {
    if (family_ != "phi3") return makeError(ErrorCode::kUnsupported, metadata_.where(), ": rope_factors_long.weight: expected only in architecture phi3");
    EXO_ASSIGN(const auto theta, metadata_.findNumber(key("rope.freq_base")));
    EXO_ASSIGN(const auto attention, metadata_.findNumber(key("rope.scaling.attn_factor")));
    Json scaling = {{"rope_type", "longrope"}};
    EXO_ASSIGN(scaling["short_factor"], ropeFactors("rope_factors_short.weight"));
    EXO_ASSIGN(scaling["long_factor"], ropeFactors("rope_factors_long.weight"));
    EXO_ASSIGN(scaling["original_max_position_embeddings"], metadata_.integer(key("rope.scaling.original_context_length")));
    if (attention) scaling["attention_factor"] = shortest(*attention);
    json_["rope_theta"] = shortest(theta.value_or(10000.0));
    json_["rope_scaling"] = std::move(scaling);
    return {};
  }

  /// Of the largest of both series, scores are divided by the root of hidden / heads, of the others by that of the head's size; no
  /// key says so.
  Status gemma() {
    const int64_t layers = json_["num_hidden_layers"], heads = json_["num_attention_heads"], hidden = json_["hidden_size"];
    const bool is_largest = layers == (family_ == "gemma2" ? 46 : 62);
    json_["query_pre_attn_scalar"] = is_largest ? static_cast<double>(hidden) / static_cast<double>(heads) : json_.value("head_dim", 256.0);
    json_["hidden_activation"] = "gelu_pytorch_tanh";
    for (const char* name : {"attn_logit_softcapping", "final_logit_softcapping"}) {
      EXO_ASSIGN(const auto cap, metadata_.findNumber(key(name)));
      if (cap.value_or(0) > 0) json_[name] = shortest(*cap);
    }
    return {};
  }

  Status experts() {
    EXO_ASSIGN(const auto count, metadata_.findInteger(key("expert_count")));
    if (count.value_or(0) == 0) return {};
    if (!isOneOf(family_, {"glm4_moe", "gpt_oss", "mixtral", "qwen2_moe", "qwen3_moe"}))
      return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", key("expert_count"), ": expected none in architecture ", prefix_.substr(0, prefix_.size() - 1), ", got ", *count);
    json_[family_ == "glm4_moe" ? "n_routed_experts" : "num_experts"] = *count;
    EXO_ASSIGN(json_["num_experts_per_tok"], metadata_.integer(key("expert_used_count")));
    if (family_ == "mixtral") return {};
    const char* const size = family_ == "gpt_oss" ? "intermediate_size" : "moe_intermediate_size";
    EXO_ASSIGN(json_[size], metadata_.integer(key("expert_feed_forward_length")));
    json_["norm_topk_prob"] = family_ != "qwen2_moe";  // no key: the architectures have it so
    if (family_ == "qwen2_moe") {
      EXO_ASSIGN(json_["shared_expert_intermediate_size"], metadata_.integer(key("expert_shared_feed_forward_length")));
    }
    return family_ == "glm4_moe" ? glmRouter() : Status{};
  }

  Status glmRouter() {
    EXO_ASSIGN(const auto gating, metadata_.findInteger(key("expert_gating_func")));
    if (gating.value_or(2) != 2) return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", key("expert_gating_func"), ": expected 2 (sigmoid), got ", *gating);
    EXO_ASSIGN(const auto scale, metadata_.findNumber(key("expert_weights_scale")));
    EXO_ASSIGN(const auto normalised, metadata_.findBoolean(key("expert_weights_norm")));
    json_["routed_scaling_factor"] = shortest(scale.value_or(1.0));
    json_["norm_topk_prob"] = normalised.value_or(true);
    json_["use_qk_norm"] = model_.find("blk.0.attn_q_norm.weight") != nullptr;
    for (const auto& [name, ours, absent] : {std::tuple("expert_shared_count", "n_shared_experts", 1), std::tuple("leading_dense_block_count", "first_k_dense_replace", 0),
                                             std::tuple("expert_group_count", "n_group", 1), std::tuple("expert_group_used_count", "topk_group", 1)}) {
      EXO_ASSIGN(const auto value, metadata_.findInteger(key(name)));
      json_[ours] = value.value_or(absent);
    }
    return {};
  }

  Status tokens() {
    Json eos = Json::array(), bos = Json::array();
    for (const char* name : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
      EXO_ASSIGN(const auto id, metadata_.findInteger(name));
      if (id && std::find(eos.begin(), eos.end(), Json(*id)) == eos.end()) eos.push_back(*id);
    }
    EXO_ASSIGN(const auto id, metadata_.findInteger("tokenizer.ggml.bos_token_id"));
    if (id) bos.push_back(*id);
    json_["eos_token_id"] = std::move(eos);
    json_["bos_token_id"] = std::move(bos);
    return {};
  }

  Status window() {
    EXO_ASSIGN(const auto size, metadata_.findInteger(key("attention.sliding_window")));
    json_["sliding_window"] = nullptr;
    if (size.value_or(0) == 0) return {};
    if (!isOneOf(family_, {"gemma2", "gemma3_text", "gpt_oss", "mistral", "mixtral", "phi3"}))
      return makeError(ErrorCode::kUnsupported, metadata_.where(), ": ", key("attention.sliding_window"), ": expected none in architecture ", prefix_.substr(0, prefix_.size() - 1), ", got ", *size);
    json_["sliding_window"] = *size;
    return {};
  }

  const GgufModel& model_;
  const GgufMetadata& metadata_;
  std::string prefix_;
  std::string_view family_;
  Json json_ = Json::object();
};

/// Llama 3's scaling comes as a tensor: what each frequency is divided by.
Status readRopeFactors(const GgufModel& model, ModelConfig& config) {
  const GgufTensor* factors = model.find("rope_freqs.weight");
  if (!factors) return {};
  const auto where = model.where() + ": rope_freqs.weight";
  if (factors->type->name != "F32" || factors->shape != std::vector{config.head_dim / 2}) return invalid(where, ": expected F32 [", config.head_dim / 2, "], half the head's size");
  if (config.rope.type != RopeType::kDefault) return makeError(ErrorCode::kUnsupported, where, ": expected no other rope scaling beside it");
  config.rope.type = RopeType::kFactors;
  for (size_t i = 0; i < static_cast<size_t>(config.head_dim / 2); ++i) {
    float factor;
    std::memcpy(&factor, factors->bytes.data() + 4 * i, 4);
    if (!(factor > 0) || !std::isfinite(factor)) return invalid(where, "[", i, "]: expected a number above 0, got ", factor);
    config.rope.frequency_factors.push_back(factor);
  }
  return {};
}

/// Mistral and Mixtral are files of architecture "llama".
Result<std::string_view> familyOf(const GgufArchitecture& architecture, const GgufMetadata& metadata) {
  if (architecture.family != "llama") return architecture.family;
  EXO_ASSIGN(const auto experts, metadata.findInteger("llama.expert_count"));
  EXO_ASSIGN(const auto window, metadata.findInteger("llama.attention.sliding_window"));
  if (experts.value_or(0) > 0) return std::string_view("mixtral");
  return window.value_or(0) > 0 ? std::string_view("mistral") : architecture.family;
}

}  // namespace

Result<const GgufArchitecture*> ggufArchitecture(const GgufMetadata& metadata) {
  EXO_ASSIGN(const std::string_view name, metadata.text("general.architecture"));
  std::vector<std::string> known;
  std::string list;
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (architecture.name == name) return &architecture;
    known.emplace_back(architecture.name);
    list += (list.empty() ? "" : ", ") + known.back();
  }
  const std::string text(name);
  return makeError(ErrorCode::kUnsupported, metadata.where(), ": general.architecture: expected one of ", list, ", got ", describe(Json(text)), didYouMean(text, known));
}

Result<ModelConfig> readGgufConfig(const GgufModel& model) {
  EXO_ASSIGN(const GgufArchitecture* architecture, ggufArchitecture(model.metadata()));
  EXO_ASSIGN(const std::string_view family, familyOf(*architecture, model.metadata()));
  EXO_ASSIGN(const Json json, Translator(model, *architecture, family).run());
  EXO_ASSIGN(ModelConfig config, readModelConfig(json, model.where()));
  config.norm_offset = 0;  // the format's converters add it to the weights
  EXO_TRY(readRopeFactors(model, config));
  return config;
}

}  // namespace exo
