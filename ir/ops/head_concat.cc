// head_concat: per head, all columns of the first operand and then the last `tail` columns of the second. Multi-head latent
// attention makes a query of its latent part and of its rotated one, and likewise the key of a position.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferConcat(const Attrs& attrs, Types in, Types) {
  const auto& a = as<HeadConcatAttrs>(attrs);
  EXO_REQUIRE(isActivation(in[0]) && a.first_dim > 0 && in[0].shape[1].size() % a.first_dim == 0, "head_concat", "first is f32[T, heads * " + std::to_string(a.first_dim) + "]", in[0]);
  const int64_t heads = in[0].shape[1].size() / a.first_dim;
  EXO_REQUIRE(a.second_dim > 0 && in[1] == (Type{Encoding::kF32, {in[0].shape[0], heads * a.second_dim}}), "head_concat",
              "second is f32[T, " + std::to_string(heads) + " heads * " + std::to_string(a.second_dim) + "]", in[1]);
  if (a.tail < 0 || a.tail > a.second_dim) return invalid("head_concat: tail is from 0 to second_dim = ", a.second_dim, ", got ", a.tail);
  return std::vector<Type>{{Encoding::kF32, {in[0].shape[0], heads * (a.first_dim + a.tail)}}};
}

FactorMap concatFactors(const Attrs&, Types) { return factors("tg,tg->tg"); }

Status evalConcat(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<HeadConcatAttrs>(attrs);
  const int64_t count = static_cast<int64_t>(in[0]->f.size()) / a.first_dim;  // of heads, in all rows
  float* to = out[0].f.data();
  for (int64_t at = 0; at < count; ++at) {
    const float* first = in[0]->f.data() + at * a.first_dim;
    const float* last = in[1]->f.data() + (at + 1) * a.second_dim;
    to = std::copy(first, first + a.first_dim, to);
    to = std::copy(last - a.tail, last, to);
  }
  return {};
}
}  // namespace

const OpDef kHeadConcatDef = {"head_concat", {"first", "second"}, kPure | kElementwise, defaultAttrs<HeadConcatAttrs>, inferConcat, concatFactors, streamCost, evalConcat};

}  // namespace exo
