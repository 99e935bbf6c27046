// phi3 (also phi-4): fused projections, a window in every layer if the file has one, longrope, heads rotated in part.
#include "frontend/config/families/family.h"

namespace exo {
namespace {

Status readPhi3(const JsonObject& json, ModelConfig& config) {
  EXO_TRY(refuseFlag(json, "attention_bias", config.family));
  EXO_TRY(refuseFlag(json, "mlp_bias", config.family));
  // Some files call their longrope "yarn"; guessing between the two would be a wrong answer for one of them.
  if (config.rope.type != RopeType::kDefault && config.rope.type != RopeType::kLongRope)
    return makeError(ErrorCode::kUnsupported, json.path("rope_scaling"), ": expected type default, longrope or su in family phi3, got ",
                     describe(*json.find(json.has("rope_scaling") ? "rope_scaling" : "rope_parameters")));
  config.fused_projections = true;
  return readUniformWindow(json, std::nullopt, config);
}

}  // namespace

Family phi3Family() {
  return {.defaults = {.family = "phi3",
                       .rms_norm_eps = 1e-5,
                       .max_position_embeddings = 4096,
                       .partial_rotary_factor = 1.0,
                       .own_keys = {"partial_rotary_factor"},
                       .bos_token_ids = {1},
                       .eos_token_ids = {32000}},
          .architecture = "Phi3ForCausalLM",
          .readSpecific = readPhi3};
}

}  // namespace exo
