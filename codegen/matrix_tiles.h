// Matrix tiles (AMX): two-dimensional registers of up to 16 rows of 64 bytes, and the five operations on them that a product of
// bytes needs. Emitted either as instructions, or as plain vector code on memory that does what Intel's manual says they do
// (volume 2: TILELOADD, TDPBSSD, TILESTORED, TILEZERO, LDTILECFG), so that the loops around them can be tested on any machine.
// Internal to codegen: included by emit_*.cc only.
#pragma once

#include <vector>

#include "codegen/vec.h"

namespace exo::codegen {

/// What a register holds; it does not change between configure() and release().
struct MatrixShape {
  int rows;   // at most 16
  int bytes;  // of a row; a multiple of 4, at most 64
};

class MatrixTiles {
 public:
  /// Registers 0, 1, ... of these shapes, at most eight. `e` outlives this.
  MatrixTiles(Fn& e, std::vector<MatrixShape> shapes);

  /// Makes the registers usable; needed before all else, once on every way through the function, and release() before it ends.
  void configure();
  void release();

  void zero(int tile);
  /// Row r comes from pointer + r * stride; nothing beyond the shape is read.
  void load(int tile, Val pointer, Val stride);
  void store(int tile, Val pointer, int64_t stride);
  /// sum[m][n] += sum over k and i of a[m][4k + i] * b[k][4n + i], with signed bytes and 32-bit sums. Shapes must fit each other.
  void dot(int sum, int a, int b);

 private:
  bool emulated() const { return e_.target.matrix == MatrixUnit::kEmulated; }
  Val place(int tile, int row) { return e_.at(memory_[static_cast<size_t>(tile)], row * kRowBytes); }
  void emulateDot(int sum, int a, int b);

  static constexpr int kRowBytes = 64, kRows = 16;
  Fn& e_;
  const std::vector<MatrixShape> shapes_;
  Vals memory_;  // of emulated registers
};

}  // namespace exo::codegen
