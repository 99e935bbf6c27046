#include "frontend/config/foreign_keys.h"

#include <algorithm>
#include <array>

namespace exo {
namespace {

/// The value at which a key changes nothing; null and absence never do.
enum class Harmless { kNever, kFalse, kZero, kOne, kEmpty };

struct ForeignKey {
  const char* key;
  Harmless harmless;
  const char* meaning;
};

constexpr std::array kForeignKeys = {
    ForeignKey{"partial_rotary_factor", Harmless::kOne, "rotating only a part of each head"},
    ForeignKey{"rotary_pct", Harmless::kOne, "rotating only a part of each head"},
    ForeignKey{"rotary_dim", Harmless::kNever, "rotating only a part of each head"},
    ForeignKey{"no_rope_layers", Harmless::kEmpty, "layers without rotary embedding"},
    ForeignKey{"no_rope_layer_interval", Harmless::kZero, "layers without rotary embedding"},
    ForeignKey{"rope_local_base_freq", Harmless::kNever, "another rotary base in some layers"},
    ForeignKey{"alibi", Harmless::kFalse, "ALiBi positions"},
    ForeignKey{"attn_logit_softcapping", Harmless::kNever, "soft-capped attention"},
    ForeignKey{"final_logit_softcapping", Harmless::kNever, "soft-capped logits"},
    ForeignKey{"logit_softcapping", Harmless::kNever, "soft-capped logits"},
    ForeignKey{"attn_soft_cap", Harmless::kNever, "soft-capped attention"},
    ForeignKey{"query_pre_attn_scalar", Harmless::kNever, "another attention scale"},
    ForeignKey{"attention_multiplier", Harmless::kNever, "another attention scale"},
    ForeignKey{"attn_scale", Harmless::kNever, "another attention scale"},
    ForeignKey{"embedding_multiplier", Harmless::kOne, "scaled embeddings"},
    ForeignKey{"embedding_scale", Harmless::kOne, "scaled embeddings"},
    ForeignKey{"scale_emb", Harmless::kOne, "scaled embeddings"},
    ForeignKey{"scale_depth", Harmless::kNever, "scaled residuals"},
    ForeignKey{"residual_multiplier", Harmless::kOne, "scaled residuals"},
    ForeignKey{"logits_scaling", Harmless::kOne, "scaled logits"},
    ForeignKey{"logit_scale", Harmless::kOne, "scaled logits"},
    ForeignKey{"dim_model_base", Harmless::kNever, "scaled logits"},
    ForeignKey{"clip_qkv", Harmless::kNever, "clipped projections"},
    ForeignKey{"swiglu_limit", Harmless::kNever, "a clamped activation"},
    ForeignKey{"attention_chunk_size", Harmless::kNever, "chunked attention"},
    ForeignKey{"attention_sinks", Harmless::kFalse, "attention sinks"},
    ForeignKey{"use_qk_norm", Harmless::kFalse, "normalised queries and keys"},
    ForeignKey{"qk_layernorm", Harmless::kFalse, "normalised queries and keys"},
    ForeignKey{"use_bidirectional_attention", Harmless::kFalse, "attention to later positions"},
    ForeignKey{"parallel_attn", Harmless::kFalse, "attention and MLP in parallel"},
    ForeignKey{"use_parallel_residual", Harmless::kFalse, "attention and MLP in parallel"},
    ForeignKey{"q_lora_rank", Harmless::kNever, "latent attention"},
    ForeignKey{"kv_lora_rank", Harmless::kNever, "latent attention"},
    ForeignKey{"n_routed_experts", Harmless::kZero, "routed experts of another family"},
    ForeignKey{"n_shared_experts", Harmless::kZero, "shared experts"},
    ForeignKey{"num_shared_experts", Harmless::kZero, "shared experts"},
    ForeignKey{"shared_expert_intermediate_size", Harmless::kZero, "shared experts"},
    ForeignKey{"routed_scaling_factor", Harmless::kOne, "scaled expert weights"},
    ForeignKey{"n_group", Harmless::kOne, "routing limited to groups"},
    ForeignKey{"scoring_func", Harmless::kNever, "another routing score"},
    ForeignKey{"first_k_dense_replace", Harmless::kZero, "dense layers before the experts"},
    ForeignKey{"moe_layer_freq", Harmless::kOne, "experts only in some layers"},
    ForeignKey{"pruned_heads", Harmless::kEmpty, "removed heads"},
    ForeignKey{"is_encoder_decoder", Harmless::kFalse, "an encoder"},
    ForeignKey{"add_cross_attention", Harmless::kFalse, "an encoder"},
    ForeignKey{"text_config", Harmless::kNever, "a model of several modalities"},
    ForeignKey{"vision_config", Harmless::kNever, "a model of several modalities"},
    ForeignKey{"audio_config", Harmless::kNever, "a model of several modalities"},
};

bool isHarmless(const Json& value, Harmless harmless) {
  switch (harmless) {
    case Harmless::kNever: return false;
    case Harmless::kFalse: return value.is_boolean() && !value.get<bool>();
    case Harmless::kZero: return value.is_number() && value.get<double>() == 0.0;
    case Harmless::kOne: return value.is_number() && value.get<double>() == 1.0;
    case Harmless::kEmpty: return (value.is_array() || value.is_object()) && value.empty();
  }
  return false;
}

}  // namespace

Status refuseForeignKeys(const JsonObject& json, const std::vector<std::string>& own_keys) {
  for (const ForeignKey& foreign : kForeignKeys) {
    const Json* value = json.find(foreign.key);
    if (std::find(own_keys.begin(), own_keys.end(), foreign.key) != own_keys.end()) continue;
    if (value && !isHarmless(*value, foreign.harmless))
      return makeError(ErrorCode::kUnsupported, json.path(foreign.key), ": ", foreign.meaning,
                       " is not supported, got ", describe(*value));
  }
  return {};
}

}  // namespace exo
