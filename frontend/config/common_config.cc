#include "frontend/config/common_config.h"

#include <algorithm>

#include "frontend/config/foreign_keys.h"

namespace exo {
namespace {

// A flag that says num_kv_heads: null is one thing (as many as heads), a missing key another (the family's default).
Result<int64_t> readKvHeads(const JsonObject& json, const FamilyDefaults& defaults, int64_t num_heads) {
  const std::string key = "num_key_value_heads";
  const int64_t fallback = json.contains(key) ? num_heads : defaults.num_kv_heads.value_or(num_heads);
  EXO_ASSIGN(const int64_t kv_heads, json.integerOr(key, fallback, {1, kMaxHeads}));
  if (num_heads % kv_heads != 0)
    return invalid(json.path(key), ": expected a divisor of num_attention_heads = ", num_heads, ", got ", kv_heads);
  return kv_heads;
}

Result<int64_t> readHeadDim(const JsonObject& json, const FamilyDefaults& defaults, const ModelConfig& config) {
  const std::string& key = defaults.head_dim_key;
  EXO_ASSIGN(std::optional<int64_t> head_dim, json.findInteger(key, {1, kMaxHeadDim}));
  if (!head_dim && key != "head_dim") return json.expected(key, "a number");
  if (!head_dim) head_dim = defaults.head_dim;
  if (!head_dim) {
    if (config.hidden_size % config.num_heads != 0)
      return invalid(json.path("num_attention_heads"), ": expected a divisor of hidden_size = ", config.hidden_size,
                     " since head_dim is not given, got ", config.num_heads);
    head_dim = config.hidden_size / config.num_heads;
  }
  if (*head_dim % 2 != 0)
    return invalid(json.path(key), ": expected an even number (rotary embedding turns pairs), got ", *head_dim);
  return *head_dim;
}

/// `fallback`: what a missing key means, if a file may lack it.
Result<int64_t> readSize(const JsonObject& json, const std::string& key, std::optional<int64_t> fallback, IntegerRange range) {
  return fallback ? json.integerOr(key, *fallback, range) : json.integer(key, range);
}

Status readSizes(const JsonObject& json, const FamilyDefaults& defaults, ModelConfig& config) {
  EXO_ASSIGN(config.hidden_size, json.integer("hidden_size", {1, kMaxHiddenSize}));
  EXO_ASSIGN(config.num_layers, json.integer("num_hidden_layers", {1, kMaxLayers}));
  EXO_ASSIGN(config.num_heads, readSize(json, "num_attention_heads", defaults.num_heads, {1, kMaxHeads}));
  EXO_ASSIGN(config.num_kv_heads, readKvHeads(json, defaults, config.num_heads));
  EXO_ASSIGN(config.head_dim, readHeadDim(json, defaults, config));
  EXO_ASSIGN(config.intermediate_size, json.integer("intermediate_size", {1, kMaxIntermediateSize}));
  EXO_ASSIGN(config.vocab_size, readSize(json, "vocab_size", defaults.vocab_size, {1, kMaxVocabSize}));
  EXO_ASSIGN(config.max_position_embeddings,
             json.integerOr("max_position_embeddings", defaults.max_position_embeddings, {1, kMaxPositions}));
  return {};
}

/// A single id or a list of them; null or absent: the default.
Result<std::vector<int64_t>> readTokenIds(const JsonObject& json, const std::string& key, int64_t vocab_size,
                                          const std::vector<int64_t>& fallback) {
  // Some published files write -1 for "none"; ids beyond the table are kept out, since they would index it.
  const IntegerRange range{-1, vocab_size - 1};
  const Json* value = json.find(key);
  if (!value) return json.contains(key) ? std::vector<int64_t>() : fallback;
  std::vector<int64_t> ids;
  if (value->is_array()) {
    EXO_ASSIGN(const auto list, json.findIntegers(key, range));
    ids = list.value_or(fallback);
  } else {
    EXO_ASSIGN(const int64_t id, json.integer(key, range));
    ids = {id};
  }
  std::erase(ids, -1);
  return ids;
}

/// Default ids must exist too: a small test model of a family with default id 2 may have a vocabulary of two.
std::vector<int64_t> within(std::vector<int64_t> ids, int64_t vocab_size) {
  std::erase_if(ids, [&](int64_t id) { return id >= vocab_size; });
  return ids;
}

Result<std::optional<DType>> readDType(const JsonObject& json) {
  for (const std::string key : {"dtype", "torch_dtype"}) {
    const Json* value = json.find(key);
    if (!value || *value == "auto") continue;
    std::string_view text = value->is_string() ? value->get_ref<const std::string&>() : std::string_view();
    if (text.starts_with("torch.")) text.remove_prefix(6);
    const std::optional<DType> dtype = parseTorchDType(text);
    if (!dtype) return json.expected(key, "a torch dtype such as bfloat16, float16 or float32");
    return dtype;
  }
  return std::optional<DType>();
}

Result<Activation> readActivation(const JsonObject& json, Activation fallback) {
  std::optional<Activation> read;
  for (const std::string key : {"hidden_act", "hidden_activation"}) {
    EXO_ASSIGN(const auto text, json.findString(key));
    if (!text) continue;
    const bool silu = *text == "silu" || *text == "swish";
    if (!silu && *text != "gelu_pytorch_tanh")
      return makeError(ErrorCode::kUnsupported, json.path(key), ": expected \"silu\" or \"gelu_pytorch_tanh\", got ", describe(Json(*text)));
    const Activation activation = silu ? Activation::kSilu : Activation::kGeluTanh;
    if (read && *read != activation) return json.expected(key, "the same as hidden_act");
    read = activation;
  }
  return read.value_or(fallback);
}

}  // namespace

Result<ModelConfig> readCommon(const JsonObject& json, const FamilyDefaults& defaults) {
  ModelConfig config;
  EXO_ASSIGN(config.quantization, readQuantization(json));
  EXO_TRY(refuseForeignKeys(json, defaults.own_keys));
  config.family = defaults.family;
  EXO_TRY(readSizes(json, defaults, config));
  EXO_ASSIGN(config.rms_norm_eps, json.numberOr("rms_norm_eps", defaults.rms_norm_eps, {1e-30, 1.0}));
  EXO_ASSIGN(config.activation, readActivation(json, defaults.activation));
  EXO_ASSIGN(config.tie_word_embeddings, json.booleanOr("tie_word_embeddings", defaults.tie_word_embeddings));
  EXO_ASSIGN(const int64_t rotary_dim, readRotaryDim(json, defaults, config.head_dim));
  if (rotary_dim != config.head_dim) config.rotary_dim = rotary_dim;
  EXO_ASSIGN(config.rope, readRope(json, defaults, config.max_position_embeddings, rotary_dim));
  config.sliding_window.assign(static_cast<size_t>(config.num_layers), std::nullopt);
  EXO_ASSIGN(config.bos_token_ids, readTokenIds(json, "bos_token_id", config.vocab_size,
                                                within(defaults.bos_token_ids, config.vocab_size)));
  EXO_ASSIGN(config.eos_token_ids, readTokenIds(json, "eos_token_id", config.vocab_size,
                                                within(defaults.eos_token_ids, config.vocab_size)));
  EXO_ASSIGN(config.dtype, readDType(json));
  return config;
}

Status refuseFlag(const JsonObject& json, const std::string& key, const std::string& family) {
  EXO_ASSIGN(const bool set, json.booleanOr(key, false));
  if (set) return makeError(ErrorCode::kUnsupported, json.path(key), ": expected false, ", family, " has no such bias, got true");
  return {};
}

Result<std::optional<std::vector<bool>>> readLayerTypes(const JsonObject& json, int64_t num_layers) {
  EXO_ASSIGN(const auto types, json.findStrings("layer_types"));
  if (!types) return std::optional<std::vector<bool>>();
  if (static_cast<int64_t>(types->size()) != num_layers)
    return invalid(json.path("layer_types"), ": expected num_hidden_layers = ", num_layers, " entries, got ", types->size());
  std::vector<bool> sliding;
  for (const std::string& type : *types) {
    if (type != "sliding_attention" && type != "full_attention")
      return makeError(ErrorCode::kUnsupported, json.path("layer_types"), "[", sliding.size(),
                       "]: expected full_attention or sliding_attention, got ", describe(Json(type)));
    sliding.push_back(type == "sliding_attention");
  }
  return std::optional(std::move(sliding));
}

Status refuseSlidingWindow(const JsonObject& json, const ModelConfig& config) {
  EXO_ASSIGN(const auto types, readLayerTypes(json, config.num_layers));
  if (types && std::find(types->begin(), types->end(), true) != types->end())
    return makeError(ErrorCode::kUnsupported, json.path("layer_types"), ": expected only full_attention in family ",
                     config.family, ", got sliding_attention");
  if (json.has("sliding_window"))
    return makeError(ErrorCode::kUnsupported, json.path("sliding_window"), ": expected null, family ", config.family,
                     " attends to all positions, got ", describe(*json.find("sliding_window")));
  return {};
}

Result<MoeConfig> readExperts(const JsonObject& json, int64_t default_top_k, int64_t num_layers) {
  const bool has_both = json.has("num_experts") && json.has("num_local_experts");
  const std::string key = json.has("num_local_experts") ? "num_local_experts" : json.has("n_routed_experts") ? "n_routed_experts" : "num_experts";
  if (has_both && *json.find("num_experts") != *json.find("num_local_experts"))
    return json.expected("num_experts", "the same as num_local_experts = " + describe(*json.find("num_local_experts")));
  MoeConfig moe;
  EXO_ASSIGN(moe.num_experts, json.integer(key, {1, kMaxExperts}));
  EXO_ASSIGN(moe.top_k, json.integerOr("num_experts_per_tok", default_top_k, {1, kMaxExperts}));
  if (moe.top_k > moe.num_experts)
    return invalid(json.path("num_experts_per_tok"), ": expected at most ", key, " = ", moe.num_experts, ", got ", moe.top_k);
  moe.is_sparse.assign(static_cast<size_t>(num_layers), true);
  return moe;
}

}  // namespace exo
