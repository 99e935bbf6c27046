// Rotary embedding. Rotates pairs (i, i + rotary_dim/2) of every head by position * frequency[i]; the angle is reduced in f64,
// so that positions up to 2^31 keep f32 accuracy. Needs scratch: cos and sin of one row, [rotary_dim/2] f32 each, padded to 16.
#include "codegen/emit.h"

namespace exo::codegen {
namespace {

using program::Kernel;

int64_t paddedHalf(const Kernel& kernel) { return (static_cast<int64_t>(kernel.rope_frequencies_size()) + 15) / 16 * 16; }

/// Turns around zero: angle / 2π - round(angle / 2π), in [-1/2, 1/2].
Val turns(Entry& e, Val position, Val frequencies) {
  llvm::Type* wide = e.vec(e.f64);
  Val angle = e.load(wide, frequencies, 64) * e.splat(e.wrap(e.b.CreateSIToFP(position.v, e.f64)));
  auto constant = [&](double value) { return e.wrap(llvm::ConstantFP::get(wide, value)); };
  Val t = angle * constant(0.15915494309189533577);
  Val nearest = (t + constant(6755399441055744.0)) - constant(6755399441055744.0);
  return e.wrap(e.b.CreateFPTrunc((t - nearest).v, e.f32v));
}

struct SinCos {
  Val sine, cosine;
};

/// sin and cos of 2π·t for |t| <= 1/2: quarter turns apart, then Cephes' polynomials on [-π/4, π/4].
SinCos sinCos(Entry& e, Val t) {
  Val shifted = t * e.fv(4) + e.fv(12582912.0);
  Val quarter = e.bits(shifted, e.i32v);
  Val y = (t - (shifted - e.fv(12582912.0)) * e.fv(0.25)) * e.fv(6.28318530717958648);
  Val z = y * y;
  Val s = e.fma(e.fma(e.fma(e.fv(-1.9515295891e-4), z, e.fv(8.3321608736e-3)), z, e.fv(-1.6666654611e-1)), z * y, y);
  Val c = e.fma(e.fma(e.fv(2.443315711809948e-5), z, e.fv(-1.388731625493765e-3)), z, e.fv(4.166664568298827e-2));
  c = e.fma(c, z * z, e.fma(e.fv(-0.5), z, e.fv(1)));
  Val swap = (quarter & 1) == e.iv(1);
  Val sine = e.select(swap, c, s), cosine = e.select(swap, s, c);
  auto flip = [&](Val v, Val sign_bit) { return e.bits(e.wrap(e.b.CreateXor(e.bits(v, e.i32v).v, sign_bit.v)), e.f32v); };
  return {flip(sine, shiftLeft(quarter & 2, 30)), flip(cosine, shiftLeft((quarter + 1) & 2, 30))};
}

void tabulate(Entry& e, const Kernel& kernel, Val position, Val frequencies, Val cosines, Val sines) {
  e.each(e.i(0), e.i(paddedHalf(kernel)), kLanes, [&](Val offset) {
    SinCos v = sinCos(e, turns(e, position, e.at(frequencies, offset * 8)));
    e.store(v.cosine * e.fv(kernel.scale()), e.at(cosines, offset * 4), 64);
    e.store(v.sine * e.fv(kernel.scale()), e.at(sines, offset * 4), 64);
  });
}

void rotateHead(Entry& e, const Kernel& kernel, Val x, Val out, Val cosines, Val sines) {
  const int64_t half = kernel.rope_frequencies_size(), dim = kernel.head_dim();
  e.columns(half, [&](Val offset, int lanes) {
    Val low = e.at(x, offset * 4), c = e.load(e.f32v, e.at(cosines, offset * 4), 64);
    Val a = e.loadLanes(low, lanes), d = e.loadLanes(e.at(low, 4 * half), lanes);
    Val s = e.load(e.f32v, e.at(sines, offset * 4), 64), to = e.at(out, offset * 4);
    e.storeLanes(e.fma(a, c, e.fv(0) - d * s), to, lanes);
    e.storeLanes(e.fma(d, c, a * s), e.at(to, 4 * half), lanes);
  });
  e.columns(dim - 2 * half, [&](Val offset, int lanes) {
    Val from = e.at(x, offset * 4), to = e.at(out, offset * 4);
    e.storeLanes(e.loadLanes(e.at(from, 8 * half), lanes), e.at(to, 8 * half), lanes);
  });
}

}  // namespace

void emitRope(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  std::vector<double> padded(kernel.rope_frequencies().begin(), kernel.rope_frequencies().end());
  padded.resize(paddedHalf(kernel), 0.0);
  Val frequencies = e.table(padded, e.f64);
  Val cosines = e.scratchMemory(), sines = e.at(cosines, 4 * paddedHalf(kernel));
  Val x = e.in(0), out = e.out(0), positions = e.step(offsetof(StepView, positions));
  const int64_t heads = kernel.heads(), dim = kernel.head_dim();
  e.eachRow(kernel, [&](Val row) {
    tabulate(e, kernel, e.index(positions, row), frequencies, cosines, sines);
    e.eachPart(kernel, heads, dim, [&](Val head) {
      Val offset = (row * heads + head) * (4 * dim);
      rotateHead(e, kernel, e.at(x, offset), e.at(out, offset), cosines, sines);
    });
  });
  e.finish();
}

}  // namespace exo::codegen
