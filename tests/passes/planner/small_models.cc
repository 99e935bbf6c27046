#include "tests/passes/planner/small_models.h"

namespace exo {
namespace {

// D hidden, H head dim
class Decoder {
 public:
  explicit Decoder(const ModelShape& shape) : s_(shape), b_("decoder") {}

  Graph build() && {
    b_.block("embed");
    tokens_ = b_.source(Op::kInput, "tokens", {Encoding::kI32, {T}}, InputAttrs{"tokens"});
    positions_ = b_.source(Op::kInput, "positions", {Encoding::kI32, {T}}, InputAttrs{"positions"});
    const ValueId rows = b_.source(Op::kInput, "rows", {Encoding::kI32, {R}}, InputAttrs{"rows"});
    rope_ = b_.source(Op::kRopeTable, "rope", {Encoding::kF32, {s_.head_dim / 2}}, RopeTableAttrs{std::vector<double>(static_cast<size_t>(s_.head_dim / 2), 0.5)});
    const ValueId table = weight("embed_tokens", {s_.vocab, s_.hidden});
    ValueId h = b_.add(Op::kEmbed, "h", {tokens_, table}, EmbedAttrs{});
    for (int64_t i = 0; i < s_.layers; ++i) {
      prefix_ = "layers." + std::to_string(i);
      b_.block(prefix_);
      h = b_.add(Op::kAdd, "h", {h, attention(norm(h, "input_norm"))});
      const ValueId x = norm(h, "post_norm");
      h = b_.add(Op::kAdd, "h", {h, s_.experts > 0 ? experts(x) : mlp(x)});
    }
    prefix_ = "head";
    b_.block("head");
    const ValueId last = b_.add(Op::kTakeRows, "last", {norm(h, "norm"), rows});
    const ValueId head = s_.tied ? table : weight("lm_head", {s_.vocab, s_.hidden});
    const ValueId logits = b_.add(Op::kMatMul, "logits", {last, head});
    for (ValueId id : b_.addMulti(Op::kTopK, {"values", "ids"}, {logits}, TopKAttrs{.k = 8})) b_.output(id);
    return std::move(b_).take();
  }

 private:
  ValueId weight(const std::string& name, std::vector<Dim> shape) {
    const std::string full = prefix_.empty() ? name : prefix_ + "." + name;
    const Encoding encoding = shape.size() == 1 ? Encoding::kF32 : s_.weights;
    WeightAttrs attrs{.tensor = full, .begin = std::vector<int64_t>(shape.size(), 0)};
    for (size_t d = shape.size() == 3 ? 1 : 0; d < shape.size(); ++d) attrs.shape.push_back(shape[d].size());
    if (shape.size() == 3) attrs.stack = shape[0].size();
    return b_.source(Op::kWeight, full, {encoding, std::move(shape)}, attrs);
  }
  ValueId norm(ValueId x, const char* name) { return b_.add(Op::kRmsNorm, "n", {x, weight(name, {s_.hidden})}, NormAttrs{1e-6}); }
  ValueId project(ValueId x, const char* name, int64_t from, int64_t to) { return b_.add(Op::kMatMul, name, {x, weight(name, {to, from})}); }
  ValueId rotate(ValueId x) { return b_.add(Op::kRope, "r", {x, positions_, rope_}, RopeAttrs{s_.head_dim, s_.head_dim, 1}); }

  ValueId attention(ValueId x) {
    const int64_t q_width = s_.heads * s_.head_dim, kv_width = s_.kv_heads * s_.head_dim;
    const ValueId q = rotate(project(x, "q", s_.hidden, q_width)), k = rotate(project(x, "k", s_.hidden, kv_width)), v = project(x, "v", s_.hidden, kv_width);
    const ValueId cache = b_.source(Op::kCache, prefix_ + ".cache", {Encoding::kF16, {4096, 2, s_.kv_heads, s_.head_dim}}, NoAttrs{});
    const ValueId appended = b_.add(Op::kKvAppend, "kv", {cache, k, v, positions_});
    const ValueId a = b_.add(Op::kAttention, "a", {q, appended, positions_}, AttentionAttrs{.head_dim = s_.head_dim, .group = s_.heads / s_.kv_heads});
    return project(a, "o", q_width, s_.hidden);
  }
  ValueId mlp(ValueId x) {
    const ValueId gate = project(x, "gate", s_.hidden, s_.ffn), up = project(x, "up", s_.hidden, s_.ffn);
    return project(b_.add(Op::kSiluMul, "act", {gate, up}, GateAttrs{}), "down", s_.ffn, s_.hidden);
  }
  ValueId experts(ValueId x) {
    const ValueId logits = project(x, "router", s_.hidden, s_.experts);
    const auto routed = b_.addMulti(Op::kRouterTopK, {"rw", "re"}, {logits}, RouterAttrs{s_.experts_per_token, true, 1});
    const auto order = b_.addMulti(Op::kExpertDispatch, {"order", "segments"}, {routed[1]}, DispatchAttrs{s_.experts});
    const auto each = [&](ValueId in, const char* name, int64_t from, int64_t to) { return b_.add(Op::kExpertMatMul, name, {in, weight(name, {s_.experts, to, from}), order[0], order[1]}); };
    const ValueId gate = each(x, "gate", s_.hidden, s_.ffn), up = each(x, "up", s_.hidden, s_.ffn);
    return b_.add(Op::kWeightedSum, "sum", {each(b_.add(Op::kSiluMul, "act", {gate, up}, GateAttrs{}), "down", s_.ffn, s_.hidden), routed[0]});
  }

  ModelShape s_;
  Builder b_;
  std::string prefix_;
  ValueId tokens_ = 0, positions_ = 0, rope_ = 0;
};

}  // namespace

Graph decoder(const ModelShape& shape) { return Decoder(shape).build(); }

Topology machines(const std::vector<double>& memory_gib, const std::vector<double>& read_gb_per_s) {
  Topology topology;
  for (size_t i = 0; i < memory_gib.size(); ++i) {
    const std::string n = std::to_string(i);
    topology.nodes.push_back({.name = "n" + n, .address = "10.0.0." + n + ":52416", .memory_gib = memory_gib[i], .read_gb_per_s = read_gb_per_s[i], .int8_gop_per_s = 4000, .f32_gflop_per_s = 1000});
  }
  return topology;
}

}  // namespace exo
