// Attributes of ops: one typed struct per op, each listing its fields once (`fields`), from which printing, parsing and
// equality follow. Field types: int64_t, double, bool, std::string, enums with `names`, vectors of int64_t and of double.
// A field visited with a third argument is left out of the text where it has that value.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace exo {

struct NoAttrs {
  template <class V> void fields(V&&) {}
  friend bool operator==(const NoAttrs&, const NoAttrs&) = default;
};

#define EXO_ATTRS(Type, visit_body)                         \
  template <class V> void fields(V&& visit) { visit_body; } \
  friend bool operator==(const Type&, const Type&) = default;

/// A value the step brings: "tokens", "positions" (i32[T]), "rows" (i32[R]).
struct InputAttrs {
  std::string source;
  EXO_ATTRS(InputAttrs, visit("source", source))
};

/// A tensor of the checkpoint, or a piece of it. `stack` > 0: that many tensors, '*' in `tensor` counting from 0 (or
/// from begin[0] in a local graph), are the leading dimension. `shape` is one tensor's [rows, columns] (or [columns]) in
/// the file; `begin` is where this value starts in each dimension of the value (stack, row, column).
struct WeightAttrs {
  std::string tensor;
  int64_t stack = 0;
  std::vector<int64_t> shape;
  std::vector<int64_t> begin;
  EXO_ATTRS(WeightAttrs, (visit("tensor", tensor), visit("stack", stack), visit("shape", shape), visit("begin", begin)))
};

/// Rotation frequencies (radians per position), one per pair of rotating elements.
struct RopeTableAttrs {
  std::vector<double> frequencies;
  EXO_ATTRS(RopeTableAttrs, visit("frequencies", frequencies))
};

/// begin: id of the first row of a (local) table. Rows are multiplied by scale.
struct EmbedAttrs {
  int64_t begin = 0;
  double scale = 1;
  EXO_ATTRS(EmbedAttrs, (visit("begin", begin), visit("scale", scale, 1.0)))
};

/// The factor of each column is offset + weight.
struct NormAttrs {
  double epsilon = 0, offset = 0;
  EXO_ATTRS(NormAttrs, (visit("epsilon", epsilon), visit("offset", offset, 0.0)))
};

struct HeadNormAttrs {
  int64_t head_dim = 0;
  double epsilon = 0, offset = 0;
  EXO_ATTRS(HeadNormAttrs, (visit("head_dim", head_dim), visit("epsilon", epsilon), visit("offset", offset, 0.0)))
};

/// width: columns of the whole row, of which the operand may be a part.
struct NormBySumAttrs {
  int64_t width = 0;
  double epsilon = 0;
  EXO_ATTRS(NormBySumAttrs, (visit("width", width), visit("epsilon", epsilon)))
};

enum class Gate { kSilu, kGeluTanh, kClampedSwiGlu };
constexpr std::array<std::string_view, 3> names(Gate) { return {"silu", "gelu_tanh", "clamped_swiglu"}; }

/// limit: of clamped_swiglu.
struct GateAttrs {
  Gate gate = Gate::kSilu;
  double limit = 0;
  EXO_ATTRS(GateAttrs, (visit("gate", gate, Gate::kSilu), visit("limit", limit, 0.0)))
};

/// y = cap * tanh(x / cap).
struct SoftCapAttrs {
  double cap = 0;
  EXO_ATTRS(SoftCapAttrs, visit("cap", cap))
};

/// RoPE on rotary_dim elements of every head, from `begin` on; cos and sin are multiplied by scale (yarn). Pairs are
/// (i, i + rotary_dim / 2), or, interleaved, (2i, 2i + 1).
struct RopeAttrs {
  int64_t head_dim = 0, rotary_dim = 0;
  double scale = 1;
  int64_t begin = 0;
  bool interleaved = false;
  EXO_ATTRS(RopeAttrs, (visit("head_dim", head_dim), visit("rotary_dim", rotary_dim), visit("scale", scale), visit("begin", begin, int64_t{0}),
                        visit("interleaved", interleaved, false)))
};

/// x has heads of head_dim columns, of which head_matmul reads the leading ones.
struct HeadMatMulAttrs {
  int64_t head_dim = 0;
  EXO_ATTRS(HeadMatMulAttrs, visit("head_dim", head_dim))
};

/// Columns of a head in `first`, in `second`, and how many of the last ones of the latter are taken.
struct HeadConcatAttrs {
  int64_t first_dim = 0, second_dim = 0, tail = 0;
  EXO_ATTRS(HeadConcatAttrs, (visit("first_dim", first_dim), visit("second_dim", second_dim), visit("tail", tail)))
};

/// Query head h reads KV head (h + first_head) / group. window 0: full; else key j is seen by query i iff i-window < j.
/// soft_cap 0: none; else a score s becomes soft_cap * tanh(s / soft_cap). value_dim > 0: the cache holds keys only, whose
/// leading value_dim elements are the values.
struct AttentionAttrs {
  int64_t head_dim = 0, group = 1, first_head = 0, window = 0;
  double scale = 1, soft_cap = 0;
  int64_t value_dim = 0;
  EXO_ATTRS(AttentionAttrs, (visit("head_dim", head_dim), visit("group", group), visit("first_head", first_head),
                             visit("window", window), visit("scale", scale), visit("soft_cap", soft_cap, 0.0), visit("value_dim", value_dim, int64_t{0})))
};

/// begin: vocabulary id of column 0 of the (local) logits.
struct TopKAttrs {
  int64_t k = 1, begin = 0;
  EXO_ATTRS(TopKAttrs, (visit("k", k), visit("begin", begin)))
};

enum class Scoring { kSoftmax, kSigmoid };
constexpr std::array<std::string_view, 2> names(Scoring) { return {"softmax", "sigmoid"}; }

/// With groups > 1, experts are chosen out of the top_groups groups whose two best experts have the largest sums.
struct RouterAttrs {
  int64_t k = 1;
  bool normalize = false;
  double factor = 1;
  Scoring scoring = Scoring::kSoftmax;
  int64_t groups = 1, top_groups = 1;
  EXO_ATTRS(RouterAttrs, (visit("k", k), visit("normalize", normalize), visit("factor", factor), visit("scoring", scoring, Scoring::kSoftmax),
                          visit("groups", groups, int64_t{1}), visit("top_groups", top_groups, int64_t{1})))
};

struct DispatchAttrs {
  int64_t experts = 1;
  EXO_ATTRS(DispatchAttrs, visit("experts", experts))
};

/// extents: columns each rank brings.
struct GatherAttrs {
  int64_t dim = 1;
  std::vector<int64_t> extents;
  EXO_ATTRS(GatherAttrs, (visit("dim", dim), visit("extents", extents)))
};

/// Stages of a value's producer and consumer.
struct TransferAttrs {
  int64_t from = 0, to = 0;
  EXO_ATTRS(TransferAttrs, (visit("from", from), visit("to", to)))
};

/// Ranks: where a local graph's value goes to or comes from.
struct SendAttrs {
  std::vector<int64_t> to;
  EXO_ATTRS(SendAttrs, visit("to", to))
};
struct RecvAttrs {
  int64_t from = 0;
  EXO_ATTRS(RecvAttrs, visit("from", from))
};
#undef EXO_ATTRS

using Attrs = std::variant<NoAttrs, InputAttrs, WeightAttrs, RopeTableAttrs, EmbedAttrs, NormAttrs, HeadNormAttrs, NormBySumAttrs,
                           GateAttrs, SoftCapAttrs, RopeAttrs, HeadMatMulAttrs, HeadConcatAttrs,
                           AttentionAttrs, TopKAttrs, RouterAttrs, DispatchAttrs, GatherAttrs, TransferAttrs, SendAttrs, RecvAttrs>;

}  // namespace exo
