// The register tile of every matrix product: `rows` rows of x times `panels` panels of 16 weight rows, summed over all of K.
// Used by emit_matmul.cc for decode (1 row, many panels) and prefill (a few rows and panels) alike, so that an output element
// is the same sequence of operations whichever tile it falls into.
#pragma once

#include "codegen/emit.h"
#include "codegen/layout.h"
#include "codegen/matrix_tiles.h"

namespace exo::codegen {

/// Where a tile reads its weights.
enum class WeightSource {
  kPacked,   // the panels as they are (layout.h)
  kScratch,  // q4 panels unpacked by emitUnpack: bytes and f32 scales
  kMatrix,   // q4 or q8 panels unpacked by emitUnpackSigned, multiplied by matrix tiles
};

/// What a tile of matrix registers needs besides: kMatrixRows rows of x, two panels.
struct MatrixOperands {
  MatrixTiles* tiles;  // of kMatrixShapes
  Val sums;            // kMatrixSumsBytes of memory
  Val stride;          // bytes between one row of x and the next; none: they lie anywhere
  Val rows;            // then kMatrixRowsBytes to gather them in
};

struct Tile {
  program::Encoding weight;
  WeightSource source;
  int prefetch_bytes = 0;  // ahead in each panel; 0: none
  MatrixOperands matrix{};  // of kMatrix
};

/// Adds the products over k columns to `sums` (rows x panels 16-lane values, row major) and returns them. x: pointer to each row;
/// panels: pointer to each panel (kScratch: panels[0] is the scratch, the others unused); both at the first of the k columns.
/// num_panels is the tile's width. k: i64; of quantised weights a multiple of 64, or what is left of the row.
Vals emitTile(Fn& e, const Tile& tile, const Vals& x, const Vals& panels, int num_panels, Val k, const Vals& sums);

/// Unpacks q4 panels into scratch: per block of 32 [8 steps of 4 k][panel][64 bytes], then [panel][16 f32 scales].
void emitUnpack(Fn& e, const Vals& panels, Val scratch, Val k);

/// The same of q4 or q8 panels, as signed bytes.
void emitUnpackSigned(Fn& e, program::Encoding weight, const Vals& panels, Val scratch, Val k);

// Matrix tiles: see emit_tile.cc for why these shapes.
constexpr int kMatrixRows = 12, kMatrixPanels = 2;
std::vector<MatrixShape> matrixShapes();
constexpr int64_t kMatrixSumsBytes = 2 * 2 * kMatrixPanels * kMatrixRows * 64;  // [parity of the superblock][half][panel][row]
constexpr int64_t kMatrixRowsBytes = kMatrixRows * kSuperblock;

constexpr int64_t kScratchBlockBytes = 8 * 64 + 64;  // per block and panel

}  // namespace exo::codegen
