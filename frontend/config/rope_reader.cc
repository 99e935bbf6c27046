// Rotary parameters out of config.json: rope_theta and rope_scaling {type | rope_type}, or rope_parameters.
#include <algorithm>
#include <array>

#include "frontend/config/common_config.h"
#include "frontend/config/suggest.h"

namespace exo {
namespace {

constexpr NumberRange kThetaRange{1.0 + 1e-6, 1e15};
constexpr NumberRange kFactorRange{1.0, 1e6};
constexpr const char* kFullLayers = "full_attention";
constexpr const char* kWindowLayers = "sliding_attention";

const std::vector<std::string> kKnownKeys = {
    "rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor",
    "high_freq_factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor",
    "partial_rotary_factor", "finetuned"};

const std::array<std::pair<std::string, RopeType>, 7> kTypes = {{{"default", RopeType::kDefault},
                                                                  {"linear", RopeType::kLinear},
                                                                  {"dynamic", RopeType::kDynamic},
                                                                  {"llama3", RopeType::kLlama3},
                                                                  {"yarn", RopeType::kYarn},
                                                                  {"longrope", RopeType::kLongRope},
                                                                  {"su", RopeType::kLongRope}}};

/// rope_parameters may hold one set for every kind of layer.
Result<std::optional<JsonObject>> parametersOf(const JsonObject& json, const std::string& key, const std::string& layers) {
  EXO_ASSIGN(const auto object, json.findObject(key));
  if (!object || layers.empty() || !object->has(layers)) return object;
  EXO_TRY(object->refuseUnknown({kFullLayers, kWindowLayers}));
  return object->findObject(layers);
}

/// The union of rope_parameters and rope_scaling, of the family's layers without a window where it tells them apart; a key in
/// both must say the same.
Result<Json> mergedParameters(const JsonObject& json, const FamilyDefaults& defaults) {
  Json merged = Json::object();
  for (const std::string key : {"rope_parameters", "rope_scaling"}) {
    EXO_ASSIGN(const auto object, parametersOf(json, key, defaults.rope_by_layers ? kFullLayers : ""));
    if (!object) continue;
    for (const auto& [name, value] : object->json().items()) {
      if (merged.contains(name) && merged[name] != value)
        return object->expected(name, "the same as in rope_parameters, " + describe(merged[name]));
      merged[name] = value;
    }
  }
  return merged;
}

Result<RopeType> readType(const JsonObject& rope) {
  const std::string key = rope.has("rope_type") ? "rope_type" : "type";
  EXO_ASSIGN(const std::string text, rope.stringOr(key, "default"));
  std::vector<std::string> names;
  for (const auto& [known, type] : kTypes) {
    if (known == text) return type;
    names.push_back(known);
  }
  return makeError(ErrorCode::kUnsupported, rope.path(key), ": expected default, linear, dynamic, llama3, yarn or longrope, got ",
                   describe(Json(text)), didYouMean(text, names));
}

Result<double> readTheta(const JsonObject& json, const JsonObject& rope, double default_theta) {
  EXO_ASSIGN(const auto outer, json.findNumber("rope_theta", kThetaRange));
  EXO_ASSIGN(const auto inner, rope.findNumber("rope_theta", kThetaRange));
  if (outer && inner && *outer != *inner)
    return json.expected("rope_theta", "the same as rope_parameters.rope_theta = " + describe(Json(*inner)));
  return inner.value_or(outer.value_or(default_theta));
}

Status readDynamic(const JsonObject& rope, int64_t max_position_embeddings, RopeConfig& config) {
  EXO_ASSIGN(config.factor, rope.number("factor", kFactorRange));
  // transformers measures growth from max_position_embeddings, whatever this key says.
  EXO_ASSIGN(config.original_max_position_embeddings,
             rope.integerOr("original_max_position_embeddings", max_position_embeddings, {1, kMaxPositions}));
  if (config.original_max_position_embeddings != max_position_embeddings)
    return rope.expected("original_max_position_embeddings",
                         "max_position_embeddings = " + std::to_string(max_position_embeddings) + " for dynamic rope");
  return {};
}

Status readLlama3(const JsonObject& rope, RopeConfig& config) {
  EXO_ASSIGN(config.factor, rope.number("factor", kFactorRange));
  EXO_ASSIGN(config.low_freq_factor, rope.number("low_freq_factor", {1e-6, 1e6}));
  EXO_ASSIGN(config.high_freq_factor, rope.number("high_freq_factor", {1e-6, 1e6}));
  if (!(static_cast<float>(config.high_freq_factor) > static_cast<float>(config.low_freq_factor)))
    return rope.expected("high_freq_factor", "more than low_freq_factor = " + describe(Json(config.low_freq_factor)));
  EXO_ASSIGN(config.original_max_position_embeddings,
             rope.integer("original_max_position_embeddings", {1, kMaxPositions}));
  return {};
}

/// The factor itself, or how far max_position_embeddings exceeds the original.
Result<double> readYarnFactor(const JsonObject& rope, int64_t max_position_embeddings, int64_t original) {
  if (rope.has("factor")) return rope.number("factor", kFactorRange);
  if (!rope.has("original_max_position_embeddings") || original > max_position_embeddings)
    return rope.expected("factor", "a number ≥ 1");
  return static_cast<double>(max_position_embeddings) / static_cast<double>(original);
}

Status readYarn(const JsonObject& rope, int64_t max_position_embeddings, RopeConfig& config) {
  EXO_ASSIGN(config.original_max_position_embeddings,
             rope.integerOr("original_max_position_embeddings", max_position_embeddings, {1, kMaxPositions}));
  EXO_ASSIGN(config.factor,
             readYarnFactor(rope, max_position_embeddings, config.original_max_position_embeddings));
  EXO_ASSIGN(config.attention_factor, rope.findNumber("attention_factor", {1e-6, 1e6}));
  EXO_ASSIGN(config.beta_fast, rope.numberOr("beta_fast", 32.0, {0.0, 1e6}));
  EXO_ASSIGN(config.beta_slow, rope.numberOr("beta_slow", 1.0, {0.0, 1e6}));
  if (config.beta_fast == 0.0) config.beta_fast = 32.0;  // transformers: 0 means the default
  if (config.beta_slow == 0.0) config.beta_slow = 1.0;
  if (config.beta_fast < config.beta_slow)
    return rope.expected("beta_fast", "at least beta_slow = " + describe(Json(config.beta_slow)));
  EXO_ASSIGN(config.mscale, rope.numberOr("mscale", 0.0, {0.0, 1e6}));
  EXO_ASSIGN(config.mscale_all_dim, rope.numberOr("mscale_all_dim", 0.0, {0.0, 1e6}));
  EXO_ASSIGN(config.truncate, rope.booleanOr("truncate", true));
  return {};
}

Result<std::vector<double>> readFactors(const JsonObject& rope, const std::string& key, int64_t count) {
  const std::string wanted = "a list of rotated elements / 2 = " + std::to_string(count) + " numbers from 1e-6 to 1e6";
  const Json* list = rope.find(key);
  if (!list || !list->is_array() || static_cast<int64_t>(list->size()) != count) return rope.expected(key, wanted);
  std::vector<double> factors;
  for (const Json& value : *list) {
    if (!value.is_number() || !(value.get<double>() >= 1e-6) || !(value.get<double>() <= 1e6)) return rope.expected(key, wanted);
    factors.push_back(value.get<double>());
  }
  return factors;
}

/// Phi's files keep the original length beside rope_scaling.
Status readLongRope(const JsonObject& json, const JsonObject& rope, int64_t max_position_embeddings, int64_t rotary_dim, RopeConfig& config) {
  const std::string key = "original_max_position_embeddings";
  const JsonObject& place = rope.has(key) ? rope : json;
  EXO_ASSIGN(config.original_max_position_embeddings, place.integer(key, {2, kMaxPositions}));
  const double grown = static_cast<double>(max_position_embeddings) / static_cast<double>(config.original_max_position_embeddings);
  EXO_ASSIGN(config.factor, rope.numberOr("factor", std::max(1.0, grown), kFactorRange));
  EXO_ASSIGN(config.attention_factor, rope.findNumber("attention_factor", {1e-6, 1e6}));
  EXO_ASSIGN(config.short_factor, readFactors(rope, "short_factor", rotary_dim / 2));
  EXO_ASSIGN(config.long_factor, readFactors(rope, "long_factor", rotary_dim / 2));
  return {};
}

Status readParameters(const JsonObject& json, const JsonObject& rope, int64_t max_position_embeddings, int64_t rotary_dim, RopeConfig& config) {
  switch (config.type) {
    case RopeType::kDefault:
    case RopeType::kFactors: return {};
    case RopeType::kLinear: {
      EXO_ASSIGN(config.factor, rope.number("factor", kFactorRange));
      return {};
    }
    case RopeType::kDynamic: return readDynamic(rope, max_position_embeddings, config);
    case RopeType::kLlama3: return readLlama3(rope, config);
    case RopeType::kYarn: return readYarn(rope, max_position_embeddings, config);
    case RopeType::kLongRope: return readLongRope(json, rope, max_position_embeddings, rotary_dim, config);
  }
  return {};
}

}  // namespace

Result<int64_t> readRotaryDim(const JsonObject& json, const FamilyDefaults& defaults, int64_t head_dim) {
  if (!defaults.partial_rotary_factor) return head_dim;
  EXO_ASSIGN(const Json merged, mergedParameters(json, defaults));
  EXO_ASSIGN(const JsonObject rope, JsonObject::root(merged, json.path("rope_parameters")));
  const std::string key = "partial_rotary_factor";
  EXO_ASSIGN(const double outer, json.numberOr(key, *defaults.partial_rotary_factor, {0.0, 1.0}));
  EXO_ASSIGN(const double factor, rope.numberOr(key, outer, {0.0, 1.0}));
  if (json.has(key) && outer != factor) return rope.expected(key, "the same as partial_rotary_factor = " + describe(Json(outer)));
  const auto rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * factor);  // rounded down, as transformers does
  if (rotary_dim < 2 || rotary_dim % 2 != 0)
    return invalid(json.path(key), ": expected an even number of at least 2 of the ", head_dim, " elements of a head, got ", rotary_dim);
  return rotary_dim;
}

Result<RopeConfig> readRope(const JsonObject& json, const FamilyDefaults& defaults, int64_t max_position_embeddings,
                            int64_t rotary_dim) {
  EXO_ASSIGN(const Json merged, mergedParameters(json, defaults));
  const std::string where = json.path(json.has("rope_scaling") ? "rope_scaling" : "rope_parameters");
  EXO_ASSIGN(const JsonObject rope, JsonObject::root(merged, where));
  RopeConfig config;
  EXO_ASSIGN(config.type, readType(rope));  // first: an unknown type explains unknown keys
  EXO_TRY(rope.refuseUnknown(kKnownKeys));
  EXO_ASSIGN(config.theta, readTheta(json, rope, defaults.rope_theta));
  EXO_ASSIGN(const double rotated, rope.numberOr("partial_rotary_factor", 1.0));
  if (rotated != 1.0 && !defaults.partial_rotary_factor) return rope.expected("partial_rotary_factor", "1 (whole heads are rotated)");
  EXO_TRY(readParameters(json, rope, max_position_embeddings, rotary_dim, config));
  if (config.type == RopeType::kDynamic && rotary_dim < 4)
    return invalid(json.path("head_dim"), ": expected at least 4 for dynamic rope, got ", rotary_dim);
  return config;
}

Result<double> readWindowTheta(const JsonObject& json, const std::string& key, double fallback) {
  EXO_ASSIGN(const double outer, json.numberOr(key, fallback, kThetaRange));
  EXO_ASSIGN(const auto all, json.findObject("rope_parameters"));
  if (!all || !all->has(kWindowLayers)) return outer;
  EXO_ASSIGN(const JsonObject rope, all->object(kWindowLayers));
  EXO_TRY(rope.refuseUnknown({"rope_type", "rope_theta"}));
  EXO_ASSIGN(const std::string type, rope.stringOr("rope_type", "default"));
  if (type != "default") return rope.expected("rope_type", "default in layers with a window");
  EXO_ASSIGN(const double theta, rope.numberOr("rope_theta", outer, kThetaRange));
  if (json.has(key) && theta != outer) return rope.expected("rope_theta", "the same as " + key + " = " + describe(Json(outer)));
  return theta;
}

}  // namespace exo
