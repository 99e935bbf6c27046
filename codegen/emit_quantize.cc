// QUANTIZE: f32 rows to X8 rows. A block of 32 is two 16-lane values; scale = max|x| / 127; format in layout.h.
#include "codegen/emit.h"
#include "codegen/layout.h"

namespace exo::codegen {
namespace {

/// Two halves of one block -> 32 int8 at `values`, scale and compensation at their places.
void quantiseBlock(Entry& e, Val x0, Val x1, Val values, Val scale, Val compensation) {
  Val peak = e.largest(e.max(e.abs(x0), e.abs(x1)));
  peak = e.max(peak, e.f(1e-30));  // keeps 127/peak finite; a block of zeros stays zeros
  Val inverse = e.splat(e.f(127) / peak);
  auto round = [&](Val x) { return e.bits(x * inverse + e.fv(12582912.0), e.i32v) - 0x4b400000; };
  Val q0 = round(x0), q1 = round(x1);
  e.store(e.wrap(e.b.CreateTrunc(q0.v, e.vec(e.i8))), values, 16);
  e.store(e.wrap(e.b.CreateTrunc(q1.v, e.vec(e.i8))), e.at(values, 16), 16);
  e.store(peak * e.f(1.0 / 127), scale, 4);
  e.store(e.sum(q0 + q1) * -8, compensation, 4);
}

void quantiseSuperblock(Entry& e, const Vals& x, Val to) {
  for (int block = 0; block < 2; ++block) {
    quantiseBlock(e, x[2 * block], x[2 * block + 1], e.at(to, 32 * block), e.at(to, kX8Scales + 4 * block),
                  e.at(to, kX8Compensations + 4 * block));
  }
}

/// The last superblock, `count` < 64 elements of it present.
void quantiseTail(Entry& e, Val from, int64_t count, Val to) {
  Vals x;
  for (int64_t k = 0; k < 4; ++k) {
    const int64_t left = count - 16 * k;
    x.push_back(left <= 0 ? e.fv(0) : e.loadLanes(e.at(from, 64 * k), static_cast<int>(std::min<int64_t>(left, 16))));
  }
  quantiseSuperblock(e, x, to);
}

}  // namespace

void emitQuantize(llvm::Module& module, const std::string& symbol, const program::Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t k = kernel.k(), full = k / kSuperblock, row_bytes = activationRowBytes(program::X8, k);
  Val in = e.in(0), out = e.out(0);
  e.eachRow(kernel, [&](Val row) {
    Val from = e.at(in, row * (4 * k)), to = e.at(out, row * row_bytes);
    e.eachPart(kernel, full, kSuperblock, [&](Val superblock) {
      Val x = e.at(from, superblock * (4 * kSuperblock));
      Vals values;
      for (int part = 0; part < 4; ++part) values.push_back(e.load(e.f32v, e.at(x, 64 * part), 4));
      quantiseSuperblock(e, values, e.at(to, superblock * kX8SuperblockBytes));
    });
    auto tail = [&] { quantiseTail(e, e.at(from, 4 * kSuperblock * full), k % kSuperblock, e.at(to, kX8SuperblockBytes * full)); };
    if (k % kSuperblock) e.whenLast(kernel, k, tail);
  });
  e.finish();
}

}  // namespace exo::codegen
