// attention: causal softmax(q·K * scale)·V over the cached positions of each token's sequence, GQA (Ainslie et al. 2023):
// query head h reads KV head (h + first_head) / group. With a window, key j is seen by query i iff i - window < j <= i.
// Sinks, if given, are one more logit per head in the softmax, whose value is nothing (gpt-oss; Xiao et al. 2023).
// Over a latent cache (multi-head latent attention in its absorbed form, DeepSeek-AI 2024) all query heads read the one key
// of a position, whose leading value_dim elements are its value: the result is f32[T, heads * value_dim].
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
int64_t valueDim(const AttentionAttrs& a) { return a.value_dim > 0 ? a.value_dim : a.head_dim; }

Result<std::vector<Type>> inferAttention(const Attrs& attrs, Types in, Types) {
  const auto& a = as<AttentionAttrs>(attrs);
  EXO_REQUIRE(a.head_dim > 0 && a.group > 0 && isActivation(in[0]) && in[0].shape[1].size() % a.head_dim == 0, "attention",
              "query is f32[T, heads * " + std::to_string(a.head_dim) + "]", in[0]);
  if (a.first_head < 0 || a.window < 0) return invalid("attention: first_head and window are at least 0, got ", a.first_head, " and ", a.window);
  if (a.soft_cap < 0) return invalid("attention: soft_cap is at least 0, got ", a.soft_cap);
  EXO_REQUIRE(in[1].rank() == 4 && isConcrete(in[1]) && in[1].shape[3] == Dim(a.head_dim), "attention", "cache has head_dim " + std::to_string(a.head_dim), in[1]);
  const int64_t heads = in[0].shape[1].size() / a.head_dim;
  const int64_t needed = heads == 0 ? 0 : (heads + a.first_head - 1) / a.group + 1;
  EXO_REQUIRE(needed <= in[1].shape[2].size(), "attention", "cache has at least " + std::to_string(needed) + " heads", in[1]);
  if (a.value_dim < 0 || a.value_dim > a.head_dim) return invalid("attention: value_dim is from 0 to head_dim = ", a.head_dim, ", got ", a.value_dim);
  EXO_REQUIRE(isLatentCache(in[1]) == (a.value_dim > 0), "attention", a.value_dim > 0 ? "cache with value_dim is of keys only" : "cache without value_dim is of keys and values", in[1]);
  EXO_REQUIRE(isVector(in[2], Encoding::kI32, in[0].shape[0]), "attention", "positions are i32[T]", in[2]);
  if (in.size() > 3) EXO_REQUIRE(isVector(in[3], Encoding::kF32, heads), "attention", "sinks are f32[" + std::to_string(heads) + "]", in[3]);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], heads * valueDim(a)}}};
}

FactorMap attentionFactors(const Attrs&, Types in) {
  const std::string cache = isLatentCache(in[1]) ? "czhd" : "czgd";  // of a latent cache ranks split the query heads, each has all keys
  return factors("tg," + cache + ",t" + (in.size() > 3 ? ",g" : "") + "->tg", isLatentCache(in[1]) ? "czhd" : "czd");
}

// State bytes are per token of context: multiply by the context length (or the window).
Cost costAttention(const Attrs& attrs, Types in, Types out, StepSize step) {
  Cost cost = streamCost(attrs, in.subspan(0, 1), out, step);
  const Type row{in[1].encoding, {in[1].shape[1], in[1].shape[2], in[1].shape[3]}};
  cost.state_bytes = static_cast<double>(sizeBytes(row));
  return cost;
}

void attendHead(const AttentionAttrs& a, const float* q, const Tensor& cache, size_t head, int64_t first_slot, int64_t position, const float* sink, float* out) {
  const size_t dim = static_cast<size_t>(a.head_dim), width = static_cast<size_t>(cache.shape[2]) * dim;
  const size_t parts = static_cast<size_t>(cache.shape[1]), slot = parts * width, value_at = (parts - 1) * width + head * dim;
  const int64_t begin = a.window > 0 ? std::max<int64_t>(0, position - a.window + 1) : 0;
  std::vector<double> scores;
  double largest = sink ? *sink : -1e300;
  for (int64_t j = begin; j <= position; ++j) {
    const float* key = cache.f.data() + static_cast<size_t>(first_slot + j) * slot + head * dim;
    double dot = 0;
    for (size_t d = 0; d < dim; ++d) dot += static_cast<double>(q[d]) * key[d];
    const double score = dot * a.scale;
    scores.push_back(a.soft_cap > 0 ? a.soft_cap * std::tanh(score / a.soft_cap) : score);
    largest = std::max(largest, scores.back());
  }
  double sum = sink ? std::exp(*sink - largest) : 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (size_t d = 0; d < static_cast<size_t>(valueDim(a)); ++d) {
    double value = 0;
    for (int64_t j = begin; j <= position; ++j) {
      value += scores[static_cast<size_t>(j - begin)] * cache.f[static_cast<size_t>(first_slot + j) * slot + value_at + d];
    }
    out[d] = static_cast<float>(value / sum);
  }
}

Status evalAttention(const Attrs& attrs, const EvalStep& step, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<AttentionAttrs>(attrs);
  const size_t dim = static_cast<size_t>(a.head_dim), heads = static_cast<size_t>(in[0]->columns()) / dim, value_dim = static_cast<size_t>(valueDim(a));
  for (size_t t = 0; t < in[2]->i.size(); ++t) {
    for (size_t h = 0; h < heads; ++h) {
      const size_t kv_head = (h + static_cast<size_t>(a.first_head)) / static_cast<size_t>(a.group), at = t * heads + h;
      attendHead(a, in[0]->f.data() + at * dim, *in[1], kv_head, step.sequence[t] * step.max_context, in[2]->i[t], in.size() > 3 ? &in[3]->f[h] : nullptr, out[0].f.data() + at * value_dim);
    }
  }
  return {};
}
}  // namespace

const OpDef kAttentionDef = {"attention", {"query", "cache", "positions", "sinks"}, kState, defaultAttrs<AttentionAttrs>, inferAttention, attentionFactors, costAttention, evalAttention, nullptr, 1};

}  // namespace exo
