#include "frontend/architectures/decoder.h"

#include <algorithm>
#include <cmath>

namespace exo {

namespace {

/// "model.layers.0.self_attn.q_proj.weight" → "layers.0.self_attn.q_proj".
std::string valueName(std::string tensor) {
  if (tensor.starts_with("model.")) tensor.erase(0, 6);
  if (tensor.ends_with(".weight")) tensor.erase(tensor.size() - 7);
  const size_t star = tensor.find(".*");
  if (star != std::string::npos) tensor.erase(star, 2);
  return tensor;
}

}  // namespace

DecoderBuilder::DecoderBuilder(const ModelConfig& config, const ImportOptions& options) : config_(config), options_(options), builder_(options.name) {
  const RopeTable table = ropeFrequencies(config.rope, config.head_dim, options.max_context);
  rope_scale_ = table.attention_scaling;
  builder_.block("embed");
  tokens_ = builder_.source(Op::kInput, "tokens", {Encoding::kI32, {T}}, InputAttrs{"tokens"});
  positions_ = builder_.source(Op::kInput, "positions", {Encoding::kI32, {T}}, InputAttrs{"positions"});
  rows_ = builder_.source(Op::kInput, "rows", {Encoding::kI32, {R}}, InputAttrs{"rows"});
  rope_table_ = builder_.source(Op::kRopeTable, "rope", {Encoding::kF32, {config.head_dim / 2}},
                                RopeTableAttrs{{table.inverse_frequencies.begin(), table.inverse_frequencies.end()}});
}

ValueId DecoderBuilder::matrix(const std::string& tensor, int64_t rows, int64_t columns) {
  return builder_.source(Op::kWeight, valueName(tensor), {options_.encoding(tensor), {rows, columns}}, WeightAttrs{tensor, 0, {rows, columns}, {0, 0}});
}

ValueId DecoderBuilder::vector(const std::string& tensor, int64_t size) {
  return builder_.source(Op::kWeight, valueName(tensor), {Encoding::kF32, {size}}, WeightAttrs{tensor, 0, {size}, {0}});
}

ValueId DecoderBuilder::stack(const std::string& pattern, int64_t rows, int64_t columns) {
  const int64_t experts = config_.moe->num_experts;
  const std::string tensor = inLayer(pattern) + ".weight";
  std::string first = tensor;
  first.replace(first.find('*'), 1, "0");
  return builder_.source(Op::kWeight, valueName(tensor), {options_.encoding(first), {experts, rows, columns}}, WeightAttrs{tensor, experts, {rows, columns}, {0, 0, 0}});
}

ValueId DecoderBuilder::linear(const std::string& tensor, ValueId x, int64_t rows, int64_t columns, bool bias) {
  const std::string name = valueName(tensor);
  ValueId y = builder_.add(Op::kMatMul, name + ".out", {x, matrix(tensor + ".weight", rows, columns)});
  if (bias) y = builder_.add(Op::kBiasAdd, name + ".biased", {y, vector(tensor + ".bias", rows)});
  return y;
}

ValueId DecoderBuilder::norm(const std::string& tensor, ValueId x) {
  return builder_.add(Op::kRmsNorm, valueName(tensor) + ".out", {x, vector(tensor + ".weight", config_.hidden_size)}, NormAttrs{config_.rms_norm_eps});
}

ValueId DecoderBuilder::headNorm(const std::string& tensor, ValueId x) {
  return builder_.add(Op::kHeadNorm, valueName(tensor) + ".out", {x, vector(tensor + ".weight", config_.head_dim)}, HeadNormAttrs{config_.head_dim, config_.rms_norm_eps});
}

ValueId DecoderBuilder::rope(const std::string& name, ValueId x) {
  return builder_.add(Op::kRope, valueName(inLayer(name)), {x, positions_, rope_table_}, RopeAttrs{config_.head_dim, config_.head_dim, rope_scale_});
}

ValueId DecoderBuilder::embed() {
  table_ = matrix(options_.embedding, config_.vocab_size, config_.hidden_size);
  return builder_.add(Op::kEmbed, "hidden", {tokens_, table_}, EmbedAttrs{});
}

void DecoderBuilder::layer(int64_t index) {
  layer_ = index;
  prefix_ = "model.layers." + std::to_string(index) + ".";
  builder_.block("layers." + std::to_string(index));
}

ValueId DecoderBuilder::attention(ValueId x) {
  const int64_t hidden = config_.hidden_size, dim = config_.head_dim, heads = config_.num_heads, kv_heads = config_.num_kv_heads;
  const ValueId n = norm(inLayer("input_layernorm"), x);
  ValueId q = linear(inLayer("self_attn.q_proj"), n, heads * dim, hidden, config_.qkv_bias);
  ValueId k = linear(inLayer("self_attn.k_proj"), n, kv_heads * dim, hidden, config_.qkv_bias);
  const ValueId v = linear(inLayer("self_attn.v_proj"), n, kv_heads * dim, hidden, config_.qkv_bias);
  if (config_.qk_norm) {
    q = headNorm(inLayer("self_attn.q_norm"), q);
    k = headNorm(inLayer("self_attn.k_norm"), k);
  }
  q = rope("self_attn.query", q);
  k = rope("self_attn.key", k);
  const ValueId cache = builder_.source(Op::kCache, valueName(inLayer("kv")), {options_.cache, {options_.max_context, 2, kv_heads, dim}}, NoAttrs{});
  const ValueId filled = builder_.add(Op::kKvAppend, valueName(inLayer("kv.filled")), {cache, k, v, positions_});
  const int64_t window = config_.sliding_window[static_cast<size_t>(layer_)].value_or(0);
  const ValueId a = builder_.add(Op::kAttention, valueName(inLayer("self_attn.out")), {q, filled, positions_},
                                 AttentionAttrs{dim, heads / kv_heads, 0, window, 1 / std::sqrt(static_cast<double>(dim))});
  const ValueId o = linear(inLayer("self_attn.o_proj"), a, hidden, heads * dim, config_.attention_output_bias);
  return builder_.add(Op::kAdd, valueName(inLayer("attended")), {x, o});
}

ValueId DecoderBuilder::denseMlp(ValueId x) {
  const int64_t hidden = config_.hidden_size, ffn = config_.intermediate_size;
  const ValueId n = norm(inLayer("post_attention_layernorm"), x);
  const ValueId gate = linear(inLayer("mlp.gate_proj"), n, ffn, hidden, config_.mlp_bias);
  const ValueId up = linear(inLayer("mlp.up_proj"), n, ffn, hidden, config_.mlp_bias);
  const ValueId act = builder_.add(Op::kSiluMul, valueName(inLayer("mlp.act")), {gate, up});
  const ValueId down = linear(inLayer("mlp.down_proj"), act, hidden, ffn, config_.mlp_bias);
  return builder_.add(Op::kAdd, valueName(inLayer("hidden")), {x, down});
}

ValueId DecoderBuilder::sparseMlp(ValueId x, const MoeNames& names) {
  const MoeConfig& moe = *config_.moe;
  const int64_t hidden = config_.hidden_size, ffn = moe.intermediate_size;
  const ValueId n = norm(inLayer("post_attention_layernorm"), x);
  // The router is small and decides: it is never quantised and never split, so that every rank decides the same.
  const std::string router = inLayer(names.router);
  const ValueId router_weight = builder_.source(Op::kWeight, valueName(router), {Encoding::kF32, {moe.num_experts, hidden}},
                                                WeightAttrs{router + ".weight", 0, {moe.num_experts, hidden}, {0, 0}});
  const ValueId scores = builder_.add(Op::kMatMul, valueName(router) + ".out", {n, router_weight});
  const auto routed = builder_.addMulti(Op::kRouterTopK, {valueName(router) + ".weights", valueName(router) + ".experts"}, {scores},
                                        RouterAttrs{moe.top_k, moe.norm_topk_prob, 1.0});
  const auto sorted = builder_.addMulti(Op::kExpertDispatch, {valueName(router) + ".order", valueName(router) + ".segments"}, {routed[1]}, DispatchAttrs{moe.num_experts});
  const auto experts = [&](const std::string& name, ValueId input, int64_t rows, int64_t columns) {
    const ValueId weight = stack(name, rows, columns);
    return builder_.add(Op::kExpertMatMul, valueName(inLayer(name)) + ".out", {input, weight, sorted[0], sorted[1]});
  };
  const ValueId gate = experts(names.gate, n, ffn, hidden);
  const ValueId up = experts(names.up, n, ffn, hidden);
  const ValueId act = builder_.add(Op::kSiluMul, valueName(inLayer("experts.act")), {gate, up});
  const ValueId down = experts(names.down, act, hidden, ffn);
  const ValueId sum = builder_.add(Op::kWeightedSum, valueName(inLayer("experts.sum")), {down, routed[0]});
  return builder_.add(Op::kAdd, valueName(inLayer("hidden")), {x, sum});
}

Graph DecoderBuilder::head(ValueId x) && {
  prefix_.clear();
  builder_.block("head");
  const ValueId rows = builder_.add(Op::kTakeRows, "last", {x, rows_});
  const ValueId n = norm("model.norm", rows);
  const ValueId table = config_.tie_word_embeddings ? table_ : matrix("lm_head.weight", config_.vocab_size, config_.hidden_size);
  const ValueId logits = builder_.add(Op::kMatMul, "logits", {n, table});
  const int64_t k = std::min(options_.candidates, config_.vocab_size);
  for (ValueId id : builder_.addMulti(Op::kTopK, {"values", "ids"}, {logits}, TopKAttrs{k, 0})) builder_.output(id);
  return std::move(builder_).take();
}

Graph buildDecoder(const ModelConfig& config, const ImportOptions& options, const DecoderBuilder::MoeNames* moe) {
  DecoderBuilder builder(config, options);
  ValueId x = builder.embed();
  for (int64_t i = 0; i < config.num_layers; ++i) {
    builder.layer(i);
    x = builder.attention(x);
    x = config.isSparse(i) ? builder.sparseMlp(x, *moe) : builder.denseMlp(x);
  }
  return std::move(builder).head(x);
}

}  // namespace exo
