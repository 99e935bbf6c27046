// H hidden, I intermediate, V vocabulary, Q = heads · head_dim, K = kv heads · head_dim.
// Counted in f64: exact up to 2^53, and without overflow before kMaxParameters is checked.
#include "frontend/config/common_config.h"

namespace exo {
namespace {

/// The norm weights of the latent vectors included.
double countLatentAttention(const ModelConfig& c) {
  const LatentConfig& l = *c.latent;
  const double hidden = static_cast<double>(c.hidden_size), heads = static_cast<double>(c.num_heads), rotary = static_cast<double>(c.head_dim);
  const double rank = static_cast<double>(l.rank), query_rank = static_cast<double>(l.query_rank), key = static_cast<double>(l.key_dim), value = static_cast<double>(l.value_dim);
  const double query = heads * (key + rotary);
  double count = query_rank > 0 ? query_rank * (hidden + 1.0 + query) : hidden * query;
  count += hidden * (rank + rotary) + rank + rank * heads * (key + value) + heads * value * hidden;
  return l.bias ? count + query_rank + rank + rotary + hidden : count;
}

double countAttention(const ModelConfig& c) {
  if (c.latent) return countLatentAttention(c);
  const double hidden = static_cast<double>(c.hidden_size), head_dim = static_cast<double>(c.head_dim);
  const double q = static_cast<double>(c.num_heads) * head_dim, kv = static_cast<double>(c.num_kv_heads) * head_dim;
  double count = hidden * (q + 2.0 * kv) + q * hidden;
  if (c.qkv_bias) count += q + 2.0 * kv;
  if (c.attention_output_bias) count += hidden;
  if (c.attention_sinks) count += static_cast<double>(c.num_heads);
  if (c.qk_norm) count += c.qk_norm_joint ? q + kv : 2.0 * head_dim;
  return count;
}

double countMlp(const ModelConfig& c, int64_t intermediate_size, bool bias) {
  const double hidden = static_cast<double>(c.hidden_size), inner = static_cast<double>(intermediate_size);
  return 3.0 * hidden * inner + (bias ? 2.0 * inner + hidden : 0.0);
}

struct Counts {
  double total = 0.0, active = 0.0, embedding = 0.0;
};

Counts count(const ModelConfig& c) {
  const double hidden = static_cast<double>(c.hidden_size);
  Counts counts;
  counts.embedding = static_cast<double>(c.vocab_size) * hidden * (c.tie_word_embeddings ? 1.0 : 2.0);
  counts.total = counts.active = counts.embedding + hidden;
  for (int64_t layer = 0; layer < c.num_layers; ++layer) {
    double dense = countAttention(c) + (c.norms == NormPlaces::kBoth ? 4.0 : 2.0) * hidden, total = 0.0, active = 0.0;
    if (c.isSparse(layer)) {
      const double expert = countMlp(c, c.moe->intermediate_size, c.moe->expert_bias);
      total = expert * static_cast<double>(c.moe->num_experts);
      active = expert * static_cast<double>(c.moe->top_k);
      dense += (hidden + (c.moe->correction_bias ? 1.0 : 0.0) + (c.moe->router_bias ? 1.0 : 0.0)) * static_cast<double>(c.moe->num_experts);
      dense += 3.0 * hidden * static_cast<double>(c.moe->shared_intermediate_size) + (c.moe->shared_gate ? hidden : 0.0);
    } else {
      dense += countMlp(c, c.intermediate_size, c.mlp_bias);
    }
    counts.total += dense + total;
    counts.active += dense + active;
  }
  return counts;
}

}  // namespace

Status checkParameterCount(const JsonObject& json, const ModelConfig& config) {
  const double total = count(config).total;
  if (total > static_cast<double>(kMaxParameters))
    return invalid(json.where(), ": expected sizes of at most ", kMaxParameters, " parameters together, got ", total);
  return {};
}

ParameterCount countParameters(const ModelConfig& config) {
  const Counts counts = count(config);
  return {static_cast<int64_t>(counts.total), static_cast<int64_t>(counts.active), static_cast<int64_t>(counts.embedding)};
}

}  // namespace exo
