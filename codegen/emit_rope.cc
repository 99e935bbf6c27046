// Rotary embedding. Rotates pairs (i, i + rotary_dim/2) of every head by position * frequency[i], or, interleaved, pairs (2i, 2i + 1);
// the angle is reduced in f64, so that positions up to 2^31 keep f32 accuracy. Needs scratch: cos and sin of one row, f32, padded to
// 16: one of a pair, or, interleaved, one for each element, so that a vector of elements meets a vector of each.
#include "codegen/emit.h"

namespace exo::codegen {
namespace {

using program::Kernel;

int64_t tableSize(const Kernel& kernel) {
  const int64_t angles = (kernel.interleaved() ? 2 : 1) * static_cast<int64_t>(kernel.rope_frequencies_size());
  return (angles + kLanes - 1) / kLanes * kLanes;
}

/// The frequency of each angle of the tables.
std::vector<double> frequenciesOf(const Kernel& kernel) {
  std::vector<double> frequencies;
  for (const double frequency : kernel.rope_frequencies()) frequencies.insert(frequencies.end(), kernel.interleaved() ? 2 : 1, frequency);
  frequencies.resize(static_cast<size_t>(tableSize(kernel)), 0.0);
  return frequencies;
}

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
  Val scale = e.fv(kernel.scale()), sign = scale;
  if (kernel.interleaved()) sign = e.select((e.iota() & 1) == e.iv(0), e.fv(-kernel.scale()), scale);
  e.each(e.i(0), e.i(tableSize(kernel)), kLanes, [&](Val offset) {
    SinCos v = sinCos(e, turns(e, position, e.at(frequencies, offset * 8)));
    e.store(v.cosine * scale, e.at(cosines, offset * 4), 64);
    e.store(v.sine * sign, e.at(sines, offset * 4), 64);
  });
}

/// The other one of each pair.
Val swapped(Entry& e, Val x) {
  std::vector<int> order;
  for (int lane = 0; lane < kLanes; ++lane) order.push_back(lane ^ 1);
  return e.wrap(e.b.CreateShuffleVector(x.v, order));
}

/// (x, y) becomes (x c - y s, y c + x s): the sign of the sines is in their table.
void rotateInterleaved(Entry& e, const Kernel& kernel, Val x, Val out, Val cosines, Val sines) {
  e.columns(2 * static_cast<int64_t>(kernel.rope_frequencies_size()), [&](Val offset, int lanes) {
    Val a = e.loadLanes(e.at(x, offset * 4), lanes), c = e.load(e.f32v, e.at(cosines, offset * 4), 64), s = e.load(e.f32v, e.at(sines, offset * 4), 64);
    e.storeLanes(e.fma(a, c, swapped(e, a) * s), e.at(out, offset * 4), lanes);
  });
}

void rotateHalves(Entry& e, const Kernel& kernel, Val x, Val out, Val cosines, Val sines) {
  const int64_t half = kernel.rope_frequencies_size();
  e.columns(half, [&](Val offset, int lanes) {
    Val low = e.at(x, offset * 4), c = e.load(e.f32v, e.at(cosines, offset * 4), 64);
    Val a = e.loadLanes(low, lanes), d = e.loadLanes(e.at(low, 4 * half), lanes);
    Val s = e.load(e.f32v, e.at(sines, offset * 4), 64), to = e.at(out, offset * 4);
    e.storeLanes(e.fma(a, c, e.fv(0) - d * s), to, lanes);
    e.storeLanes(e.fma(d, c, a * s), e.at(to, 4 * half), lanes);
  });
}

void copyColumns(Entry& e, Val x, Val out, int64_t begin, int64_t end) {
  e.columns(end - begin, [&](Val offset, int lanes) {
    Val from = e.at(x, offset * 4), to = e.at(out, offset * 4);
    e.storeLanes(e.loadLanes(e.at(from, 4 * begin), lanes), e.at(to, 4 * begin), lanes);
  });
}

void rotateHead(Entry& e, const Kernel& kernel, Val x, Val out, Val cosines, Val sines) {
  const int64_t begin = kernel.rotary_begin(), end = begin + 2 * static_cast<int64_t>(kernel.rope_frequencies_size());
  copyColumns(e, x, out, 0, begin);
  (kernel.interleaved() ? rotateInterleaved : rotateHalves)(e, kernel, e.at(x, 4 * begin), e.at(out, 4 * begin), cosines, sines);
  copyColumns(e, x, out, end, static_cast<int64_t>(kernel.head_dim()));
}

}  // namespace

void emitRope(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  Val frequencies = e.table(frequenciesOf(kernel), e.f64);
  Val cosines = e.scratchMemory(), sines = e.at(cosines, 4 * tableSize(kernel));
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

int64_t ropeScratchBytes(const Kernel& kernel) { return 8 * tableSize(kernel); }

}  // namespace exo::codegen
