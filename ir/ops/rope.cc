// rope: rotates pairs of elements of each head by position * frequency[i] (RoPE, Su et al. 2021), from element `begin` on:
// pairs (i, i + rotary_dim / 2), the rotate-half order of Hugging Face checkpoints, or interleaved (2i, 2i + 1), as DeepSeek's.
#include "ir/ops/common.h"

namespace exo {
using namespace ops;

namespace {
Result<std::vector<Type>> inferRope(const Attrs& attrs, Types in, Types) {
  const auto& a = as<RopeAttrs>(attrs);
  EXO_REQUIRE(isActivation(in[0]) && a.head_dim > 0 && in[0].shape[1].size() % a.head_dim == 0, "rope", "x is f32[T, heads * " + std::to_string(a.head_dim) + "]", in[0]);
  EXO_REQUIRE(isVector(in[1], Encoding::kI32, in[0].shape[0]), "rope", "positions are i32[T]", in[1]);
  EXO_REQUIRE(a.rotary_dim >= 0 && a.rotary_dim % 2 == 0 && a.rotary_dim <= a.head_dim && isVector(in[2], Encoding::kF32, a.rotary_dim / 2), "rope",
              "table is f32[rotary_dim / 2 = " + std::to_string(a.rotary_dim / 2) + "]", in[2]);
  if (a.begin < 0 || a.begin > a.head_dim - a.rotary_dim) return invalid("rope: begin is from 0 to head_dim - rotary_dim = ", a.head_dim - a.rotary_dim, ", got ", a.begin);
  return std::vector<Type>{in[0]};
}

FactorMap ropeFactors(const Attrs&, Types) { return factors("tq,t,f->tq", "f"); }

Status evalRope(const Attrs& attrs, const EvalStep&, std::span<const Tensor* const> in, std::span<Tensor> out) {
  const auto& a = as<RopeAttrs>(attrs);
  const size_t width = static_cast<size_t>(in[0]->columns()), head = static_cast<size_t>(a.head_dim), half = static_cast<size_t>(a.rotary_dim / 2);
  const size_t begin = static_cast<size_t>(a.begin), first = a.interleaved ? 2 : 1, second = a.interleaved ? 1 : half;  // pair i: (i * first, i * first + second)
  out[0].f = in[0]->f;
  for (size_t t = 0; t < in[1]->i.size(); ++t) {
    for (size_t at = t * width; at < (t + 1) * width; at += head) {
      for (size_t i = 0; i < half; ++i) {
        const double angle = in[1]->i[t] * static_cast<double>(in[2]->f[i]);
        const double c = std::cos(angle) * a.scale, s = std::sin(angle) * a.scale;
        const size_t low = at + begin + i * first, high = low + second;
        const double x = in[0]->f[low], y = in[0]->f[high];
        out[0].f[low] = static_cast<float>(x * c - y * s);
        out[0].f[high] = static_cast<float>(y * c + x * s);
      }
    }
  }
  return {};
}
}  // namespace

const OpDef kRopeDef = {"rope", {"x", "positions", "table"}, kPure | kElementwise, defaultAttrs<RopeAttrs>, inferRope, ropeFactors, streamCost, evalRope, headColumns<RopeAttrs>};

}  // namespace exo
