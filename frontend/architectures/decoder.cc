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

Gate gateOf(Activation activation) {
  switch (activation) {
    case Activation::kSilu: return Gate::kSilu;
    case Activation::kGeluTanh: return Gate::kGeluTanh;
    case Activation::kClampedSwiGlu: return Gate::kClampedSwiGlu;
  }
  return Gate::kSilu;
}

}  // namespace

DecoderBuilder::DecoderBuilder(const ModelConfig& config, const ImportOptions& options) : config_(config), options_(options), builder_(options.name) {
  builder_.block("embed");
  tokens_ = builder_.source(Op::kInput, "tokens", {Encoding::kI32, {T}}, InputAttrs{"tokens"});
  positions_ = builder_.source(Op::kInput, "positions", {Encoding::kI32, {T}}, InputAttrs{"positions"});
  rows_ = builder_.source(Op::kInput, "rows", {Encoding::kI32, {R}}, InputAttrs{"rows"});
  rope_ = makeRope("rope", config.rope);
  window_rope_ = config.window_rope ? makeRope("window_rope", *config.window_rope) : rope_;
}

DecoderBuilder::Rope DecoderBuilder::makeRope(const std::string& name, const RopeConfig& rope) {
  const RopeTable table = ropeFrequencies(rope, config_.rotaryDim(), options_.max_context);
  const ValueId id = builder_.source(Op::kRopeTable, name, {Encoding::kF32, {config_.rotaryDim() / 2}},
                                     RopeTableAttrs{{table.inverse_frequencies.begin(), table.inverse_frequencies.end()}});
  return {id, table.attention_scaling};
}

ValueId DecoderBuilder::matrix(const std::string& tensor, int64_t rows, int64_t columns) {
  return builder_.source(Op::kWeight, valueName(tensor), {options_.encoding(tensor), {rows, columns}}, WeightAttrs{tensor, 0, {rows, columns}, {0, 0}});
}

ValueId DecoderBuilder::vector(const std::string& tensor, int64_t size) { return vectorPart(valueName(tensor), {tensor}, size); }

ValueId DecoderBuilder::vectorPart(const std::string& name, const Part& part, int64_t size) {
  return builder_.source(Op::kWeight, name, {Encoding::kF32, {size}}, WeightAttrs{part.tensor, 0, {part.of > 0 ? part.of : size}, {part.begin}});
}

/// A vector per expert.
ValueId DecoderBuilder::vectorStack(const std::string& pattern, int64_t size) {
  const int64_t experts = config_.moe->num_experts;
  const std::string tensor = inLayer(pattern) + ".bias";
  return builder_.source(Op::kWeight, valueName(tensor), {Encoding::kF32, {experts, size}}, WeightAttrs{tensor, experts, {size}, {0, 0}});
}

ValueId DecoderBuilder::stack(const std::string& pattern, int64_t rows, int64_t columns) {
  const int64_t experts = config_.moe->num_experts;
  const std::string tensor = inLayer(pattern) + ".weight";
  std::string first = tensor;
  first.replace(first.find('*'), 1, "0");
  return builder_.source(Op::kWeight, valueName(tensor), {options_.encoding(first), {experts, rows, columns}}, WeightAttrs{tensor, experts, {rows, columns}, {0, 0, 0}});
}

ValueId DecoderBuilder::linear(const std::string& tensor, ValueId x, int64_t rows, int64_t columns, bool bias) {
  return projection(tensor, {tensor}, x, rows, columns, bias);
}

/// y = W x (+ b), W being `rows` rows of the part's tensor; values are called after `name`.
ValueId DecoderBuilder::projection(const std::string& name, const Part& part, ValueId x, int64_t rows, int64_t columns, bool bias) {
  const std::string value = valueName(name), tensor = part.tensor + ".weight";
  const int64_t whole = part.of > 0 ? part.of : rows;
  const ValueId weight = builder_.source(Op::kWeight, value, {options_.encoding(tensor), {rows, columns}}, WeightAttrs{tensor, 0, {whole, columns}, {part.begin, 0}});
  ValueId y = builder_.add(Op::kMatMul, value + ".out", {x, weight});
  if (bias) y = builder_.add(Op::kBiasAdd, value + ".biased", {y, vectorPart(value + ".bias", {part.tensor + ".bias", part.begin, part.of}, rows)});
  return y;
}

/// Routers and gates are small and decide: never quantised and never split, so that every rank decides the same.
ValueId DecoderBuilder::f32Linear(const std::string& tensor, ValueId x, int64_t rows) {
  const std::string name = valueName(tensor);
  const ValueId weight = builder_.source(Op::kWeight, name, {Encoding::kF32, {rows, config_.hidden_size}}, WeightAttrs{tensor + ".weight", 0, {rows, config_.hidden_size}, {0, 0}});
  return builder_.add(Op::kMatMul, name + ".out", {x, weight});
}

ValueId DecoderBuilder::norm(const std::string& tensor, ValueId x) {
  return builder_.add(Op::kRmsNorm, valueName(tensor) + ".out", {x, vector(tensor + ".weight", config_.hidden_size)}, NormAttrs{config_.rms_norm_eps, config_.norm_offset});
}

ValueId DecoderBuilder::normBefore(const std::string& name, ValueId x) { return config_.norms == NormPlaces::kBehind ? x : norm(inLayer(name), x); }

ValueId DecoderBuilder::normBehind(const std::string& name, ValueId x) { return config_.norms == NormPlaces::kBefore ? x : norm(inLayer(name), x); }

/// The norm before the MLP has the name of what it comes behind, unless there is a norm behind attention too.
std::string DecoderBuilder::mlpNorm() const { return config_.norms == NormPlaces::kBoth ? "pre_feedforward_layernorm" : "post_attention_layernorm"; }

/// Queries or keys, each head by itself or all of them at once; the sum over split heads is all that ranks must share.
ValueId DecoderBuilder::queryNorm(const std::string& tensor, ValueId x) {
  const std::string name = valueName(tensor);
  if (!config_.qk_norm_joint) {
    return builder_.add(Op::kHeadNorm, name + ".out", {x, vector(tensor + ".weight", config_.head_dim)}, HeadNormAttrs{config_.head_dim, config_.rms_norm_eps, config_.norm_offset});
  }
  const int64_t width = builder_.graph().value(x).type.shape[1].size();
  const ValueId sums = builder_.add(Op::kSquareSum, name + ".sums", {x});
  return builder_.add(Op::kNormBySum, name + ".out", {x, sums, vector(tensor + ".weight", width)}, NormBySumAttrs{width, config_.rms_norm_eps});
}

ValueId DecoderBuilder::rope(const std::string& name, ValueId x) {
  const Rope& rope = config_.sliding_window[static_cast<size_t>(layer_)] ? window_rope_ : rope_;
  return builder_.add(Op::kRope, valueName(inLayer(name)), {x, positions_, rope.table}, RopeAttrs{config_.head_dim, config_.rotaryDim(), rope.scale});
}

ValueId DecoderBuilder::embed() {
  table_ = matrix(options_.embedding, config_.vocab_size, config_.hidden_size);
  return builder_.add(Op::kEmbed, "hidden", {tokens_, table_}, EmbedAttrs{0, config_.embedding_scale});
}

void DecoderBuilder::layer(int64_t index) {
  layer_ = index;
  prefix_ = "model.layers." + std::to_string(index) + ".";
  builder_.block("layers." + std::to_string(index));
}

ValueId DecoderBuilder::attention(ValueId x) {
  const int64_t hidden = config_.hidden_size, dim = config_.head_dim, heads = config_.num_heads, kv_heads = config_.num_kv_heads;
  const ValueId n = normBefore("input_layernorm", x);
  const auto project = [&](const std::string& name, int64_t first_head, int64_t count) {
    const std::string own = inLayer("self_attn." + name), fused = inLayer("self_attn.qkv_proj");
    const Part part = config_.fused_projections ? Part{fused, first_head * dim, (heads + 2 * kv_heads) * dim} : Part{own};
    return projection(own, part, n, count * dim, hidden, config_.qkv_bias);
  };
  ValueId q = project("q_proj", 0, heads);
  ValueId k = project("k_proj", heads, kv_heads);
  const ValueId v = project("v_proj", heads + kv_heads, kv_heads);
  if (config_.qk_norm) {
    q = queryNorm(inLayer("self_attn.q_norm"), q);
    k = queryNorm(inLayer("self_attn.k_norm"), k);
  }
  q = rope("self_attn.query", q);
  k = rope("self_attn.key", k);
  const ValueId cache = builder_.source(Op::kCache, valueName(inLayer("kv")), {options_.cache, {options_.max_context, 2, kv_heads, dim}}, NoAttrs{});
  const ValueId filled = builder_.add(Op::kKvAppend, valueName(inLayer("kv.filled")), {cache, k, v, positions_});
  const int64_t window = config_.sliding_window[static_cast<size_t>(layer_)].value_or(0);
  const double scale = 1 / std::sqrt(config_.query_scalar.value_or(static_cast<double>(dim)));
  std::vector<ValueId> read = {q, filled, positions_};
  if (config_.attention_sinks) read.push_back(vector(inLayer("self_attn.sinks"), heads));
  const ValueId a = builder_.add(Op::kAttention, valueName(inLayer("self_attn.out")), read,
                                 AttentionAttrs{dim, heads / kv_heads, 0, window, scale, config_.attention_soft_cap});
  return attended(x, a, heads * dim, config_.attention_output_bias);
}

/// x and what its heads have found, `width` columns together.
ValueId DecoderBuilder::attended(ValueId x, ValueId heads, int64_t width, bool bias) {
  const ValueId o = linear(inLayer("self_attn.o_proj"), heads, config_.hidden_size, width, bias);
  return builder_.add(Op::kAdd, valueName(inLayer("attended")), {x, normBehind("post_attention_layernorm", o)});
}

ValueId DecoderBuilder::latentNorm(const std::string& tensor, ValueId x, int64_t size) {
  constexpr double kEpsilon = 1e-6;  // whatever the configuration says for other norms
  return builder_.add(Op::kRmsNorm, valueName(inLayer(tensor)) + ".out", {x, vector(inLayer(tensor) + ".weight", size)}, NormAttrs{kEpsilon, 0});
}

/// A matrix [rows, columns] for each head, which are parts of kv_b_proj ("key": transposed). x has heads of head_dim columns.
/// Blocks of 32 must begin with every head; where they do not, the matrices are kept in bf16.
ValueId DecoderBuilder::perHead(const std::string& part, ValueId x, int64_t head_dim, int64_t rows, int64_t columns) {
  const int64_t heads = config_.num_heads;
  const std::string pattern = inLayer("self_attn.kv_b_proj.heads.*." + part), name = valueName(pattern);
  Encoding encoding = options_.encoding(inLayer("self_attn.kv_b_proj.heads.0." + part) + ".weight");
  if (isBlocked(encoding) && head_dim % kHeadAlignment != 0) encoding = Encoding::kBF16;
  const ValueId weight = builder_.source(Op::kWeight, name, {encoding, {heads, rows, columns}}, WeightAttrs{pattern + ".weight", heads, {rows, columns}, {0, 0, 0}});
  return builder_.add(Op::kHeadMatMul, name + ".out", {x, weight}, HeadMatMulAttrs{head_dim});
}

/// f32[T, heads * (rank + rotated)]: per head what its key matrix makes of the query, then the rotated part. n: what q_a_proj
/// has made, or, without it, the layer's input.
ValueId DecoderBuilder::latentQuery(ValueId n) {
  const LatentConfig& latent = *config_.latent;
  const int64_t hidden = config_.hidden_size, rotated = config_.head_dim, dim = latent.key_dim + rotated, width = config_.num_heads * dim;
  ValueId q;
  if (latent.query_rank > 0) {
    q = linear(inLayer("self_attn.q_b_proj"), latentNorm("self_attn.q_a_layernorm", n, latent.query_rank), width, latent.query_rank, false);
  } else {
    q = linear(inLayer("self_attn.q_proj"), n, width, hidden, false);
  }
  q = builder_.add(Op::kRope, valueName(inLayer("self_attn.query")), {q, positions_, rope_.table}, RopeAttrs{dim, rotated, rope_.scale, latent.key_dim, true});
  const ValueId absorbed = perHead("key", q, dim, latent.rank, latent.key_dim);
  return builder_.add(Op::kHeadConcat, valueName(inLayer("self_attn.latent_query")), {absorbed, q}, HeadConcatAttrs{latent.rank, dim, rotated});
}

/// f32[T, rank + rotated]: what the cache keeps of a position.
ValueId DecoderBuilder::latentKey(ValueId n) {
  const LatentConfig& latent = *config_.latent;
  const int64_t hidden = config_.hidden_size, rotated = config_.head_dim, rank = latent.rank, rows = rank + rotated;
  const std::string tensor = inLayer("self_attn.kv_a_proj_with_mqa");
  const ValueId compressed = projection(tensor + ".latent", {tensor, 0, rows}, n, rank, hidden, latent.bias);
  const ValueId key = projection(tensor + ".rotated", {tensor, rank, rows}, n, rotated, hidden, latent.bias);
  const ValueId turned = builder_.add(Op::kRope, valueName(inLayer("self_attn.key")), {key, positions_, rope_.table}, RopeAttrs{rotated, rotated, rope_.scale, 0, true});
  return builder_.add(Op::kHeadConcat, valueName(inLayer("self_attn.latent_key")), {latentNorm("self_attn.kv_a_layernorm", compressed, rank), turned}, HeadConcatAttrs{rank, rotated, rotated});
}

ValueId DecoderBuilder::latentAttention(ValueId x) {
  const LatentConfig& latent = *config_.latent;
  const int64_t heads = config_.num_heads, rank = latent.rank, dim = rank + config_.head_dim;
  const ValueId n = normBefore("input_layernorm", x);
  // All that reads n first: one region of products.
  const ValueId compressed = latent.query_rank > 0 ? linear(inLayer("self_attn.q_a_proj"), n, latent.query_rank, config_.hidden_size, latent.bias) : n;
  const ValueId key = latentKey(n);
  const ValueId cache = builder_.source(Op::kCache, valueName(inLayer("kv")), {options_.cache, {options_.max_context, 1, 1, dim}}, NoAttrs{});
  const ValueId filled = builder_.add(Op::kKvAppend, valueName(inLayer("kv.filled")), {cache, key, key, positions_});
  const ValueId q = latentQuery(compressed);
  const ValueId a = builder_.add(Op::kAttention, valueName(inLayer("self_attn.out")), {q, filled, positions_},
                                 AttentionAttrs{dim, heads, 0, 0, 1 / std::sqrt(*config_.query_scalar), 0, rank});
  return attended(x, perHead("value", a, rank, latent.value_dim, rank), heads * latent.value_dim, latent.bias);
}

ValueId DecoderBuilder::gated(const std::string& name, ValueId gate, ValueId up) {
  return builder_.add(Op::kSiluMul, valueName(inLayer(name)), {gate, up}, GateAttrs{gateOf(config_.activation), config_.activation_limit});
}

ValueId DecoderBuilder::gatedMlp(const std::string& name, ValueId x, int64_t ffn, bool bias) {
  const int64_t hidden = config_.hidden_size;
  const std::string fused = inLayer(name + ".gate_up_proj"), gate_name = inLayer(name + ".gate_proj"), up_name = inLayer(name + ".up_proj");
  const bool is_fused = config_.fused_projections;
  const ValueId gate = projection(gate_name, is_fused ? Part{fused, 0, 2 * ffn} : Part{gate_name}, x, ffn, hidden, bias);
  const ValueId up = projection(up_name, is_fused ? Part{fused, ffn, 2 * ffn} : Part{up_name}, x, ffn, hidden, bias);
  return linear(inLayer(name + ".down_proj"), gated(name + ".act", gate, up), hidden, ffn, bias);
}

ValueId DecoderBuilder::denseMlp(ValueId x) {
  const ValueId down = gatedMlp("mlp", normBefore(mlpNorm(), x), config_.intermediate_size, config_.mlp_bias);
  return builder_.add(Op::kAdd, valueName(inLayer("hidden")), {x, normBehind("post_feedforward_layernorm", down)});
}

DecoderBuilder::Routed DecoderBuilder::routedExperts(ValueId n, const MoeNames& names) {
  const MoeConfig& moe = *config_.moe;
  const int64_t hidden = config_.hidden_size, ffn = moe.intermediate_size;
  const std::string tensor = inLayer(names.router), router = valueName(tensor);
  std::vector<ValueId> scores = {f32Linear(tensor, n, moe.num_experts)};
  if (moe.router_bias) scores = {builder_.add(Op::kBiasAdd, router + ".biased", {scores[0], vector(tensor + ".bias", moe.num_experts)})};
  if (moe.correction_bias) scores.push_back(vector(tensor + ".e_score_correction_bias", moe.num_experts));
  const Scoring scoring = moe.score == RouterScore::kSigmoid ? Scoring::kSigmoid : Scoring::kSoftmax;
  const auto routed = builder_.addMulti(Op::kRouterTopK, {router + ".weights", router + ".experts"}, scores,
                                        RouterAttrs{moe.top_k, moe.norm_topk_prob, moe.scale, scoring, moe.groups, moe.top_groups});
  const auto sorted = builder_.addMulti(Op::kExpertDispatch, {router + ".order", router + ".segments"}, {routed[1]}, DispatchAttrs{moe.num_experts});
  const auto experts = [&](const std::string& name, ValueId input, int64_t rows, int64_t columns) {
    const ValueId weight = stack(name, rows, columns);
    return builder_.add(Op::kExpertMatMul, valueName(inLayer(name)) + ".out", {input, weight, sorted[0], sorted[1]});
  };
  const auto biased = [&](const std::string& name, ValueId value) {
    return moe.expert_bias ? builder_.add(Op::kExpertBiasAdd, valueName(inLayer(name)) + ".biased", {value, vectorStack(name, ffn), routed[1]}) : value;
  };
  Routed result;
  if (moe.expert_bias) result.bias = builder_.add(Op::kExpertBiasSum, valueName(inLayer("experts.bias")), {routed[0], routed[1], vectorStack(names.down, hidden)});
  const ValueId gate = experts(names.gate, n, ffn, hidden);
  const ValueId up = experts(names.up, n, ffn, hidden);
  const ValueId down = experts(names.down, gated("experts.act", biased(names.gate, gate), biased(names.up, up)), hidden, ffn);
  result.sum = builder_.add(Op::kWeightedSum, valueName(inLayer("experts.sum")), {down, routed[0]});
  return result;
}

ValueId DecoderBuilder::sharedExpert(ValueId n, const MoeNames& names) {
  const ValueId down = gatedMlp(names.shared, n, config_.moe->shared_intermediate_size, false);
  if (!config_.moe->shared_gate) return down;
  const ValueId gate = f32Linear(inLayer(names.shared_gate), n, 1);
  return builder_.add(Op::kSigmoidMul, valueName(inLayer(names.shared)) + ".share", {down, gate});
}

ValueId DecoderBuilder::sparseMlp(ValueId x, const MoeNames& names) {
  const ValueId n = normBefore(mlpNorm(), x);
  auto [sum, bias] = routedExperts(n, names);
  // Added to the other summand: the sum is partial where experts are split, and one all-reduce makes it whole.
  if (bias >= 0) x = builder_.add(Op::kAdd, valueName(inLayer("experts.biased")), {x, bias});
  // Both are sums over split columns: added before they are summed over ranks, they cost one all-reduce.
  if (config_.moe->shared_intermediate_size > 0) sum = builder_.add(Op::kAdd, valueName(inLayer("experts.all")), {sum, sharedExpert(n, names)});
  return builder_.add(Op::kAdd, valueName(inLayer("hidden")), {x, normBehind("post_feedforward_layernorm", sum)});
}

Graph DecoderBuilder::head(ValueId x) && {
  prefix_.clear();
  builder_.block("head");
  const ValueId rows = builder_.add(Op::kTakeRows, "last", {x, rows_});
  const ValueId n = norm("model.norm", rows);
  const ValueId table = config_.tie_word_embeddings ? table_ : matrix("lm_head.weight", config_.vocab_size, config_.hidden_size);
  ValueId logits = builder_.add(Op::kMatMul, "logits", {n, table});
  if (config_.logit_soft_cap > 0) logits = builder_.add(Op::kSoftCap, "logits.capped", {logits}, SoftCapAttrs{config_.logit_soft_cap});
  const int64_t k = std::min(options_.candidates, config_.vocab_size);
  for (ValueId id : builder_.addMulti(Op::kTopK, {"values", "ids"}, {logits}, TopKAttrs{k, 0})) builder_.output(id);
  return std::move(builder_).take();
}

Graph buildDecoder(const ModelConfig& config, const ImportOptions& options, const DecoderBuilder::MoeNames* moe) {
  DecoderBuilder builder(config, options);
  ValueId x = builder.embed();
  for (int64_t i = 0; i < config.num_layers; ++i) {
    builder.layer(i);
    x = config.latent ? builder.latentAttention(x) : builder.attention(x);
    x = config.isSparse(i) ? builder.sparseMlp(x, *moe) : builder.denseMlp(x);
  }
  return std::move(builder).head(x);
}

}  // namespace exo
