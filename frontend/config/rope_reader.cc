// Rotary parameters out of config.json: rope_theta and rope_scaling {type | rope_type}, or rope_parameters.
#include <array>

#include "frontend/config/common_config.h"
#include "frontend/config/suggest.h"

namespace exo {
namespace {

constexpr NumberRange kThetaRange{1.0 + 1e-6, 1e15};
constexpr NumberRange kFactorRange{1.0, 1e6};

const std::vector<std::string> kKnownKeys = {
    "rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor",
    "high_freq_factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
    "partial_rotary_factor", "finetuned"};

const std::array<std::pair<std::string, RopeType>, 5> kTypes = {{{"default", RopeType::kDefault},
                                                                  {"linear", RopeType::kLinear},
                                                                  {"dynamic", RopeType::kDynamic},
                                                                  {"llama3", RopeType::kLlama3},
                                                                  {"yarn", RopeType::kYarn}}};

/// The union of rope_parameters and rope_scaling; a key in both must say the same.
Result<Json> mergedParameters(const JsonObject& json) {
  Json merged = Json::object();
  for (const std::string key : {"rope_parameters", "rope_scaling"}) {
    EXO_ASSIGN(const auto object, json.findObject(key));
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
  return makeError(ErrorCode::kUnsupported, rope.path(key), ": expected default, linear, dynamic, llama3 or yarn, got ",
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

Status readParameters(const JsonObject& rope, int64_t max_position_embeddings, RopeConfig& config) {
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
  }
  return {};
}

}  // namespace

Result<RopeConfig> readRope(const JsonObject& json, double default_theta, int64_t max_position_embeddings,
                            int64_t head_dim) {
  EXO_ASSIGN(const Json merged, mergedParameters(json));
  const std::string where = json.path(json.has("rope_scaling") ? "rope_scaling" : "rope_parameters");
  EXO_ASSIGN(const JsonObject rope, JsonObject::root(merged, where));
  RopeConfig config;
  EXO_ASSIGN(config.type, readType(rope));  // first: an unknown type explains unknown keys
  EXO_TRY(rope.refuseUnknown(kKnownKeys));
  EXO_ASSIGN(config.theta, readTheta(json, rope, default_theta));
  EXO_ASSIGN(const double rotated, rope.numberOr("partial_rotary_factor", 1.0));
  if (rotated != 1.0) return rope.expected("partial_rotary_factor", "1 (whole heads are rotated)");
  EXO_TRY(readParameters(rope, max_position_embeddings, config));
  if (config.type == RopeType::kDynamic && head_dim < 4)
    return invalid(json.path("head_dim"), ": expected at least 4 for dynamic rope, got ", head_dim);
  return config;
}

}  // namespace exo
