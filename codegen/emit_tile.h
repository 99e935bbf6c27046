// The register tile of every matrix product: `rows` rows of x times `panels` panels of 16 weight rows, summed over all of K.
// Used by emit_matmul.cc for decode (1 row, many panels) and prefill (a few rows and panels) alike, so that an output element
// is the same sequence of operations whichever tile it falls into.
#pragma once

#include "codegen/emit.h"

namespace exo::codegen {

/// Where a tile reads its weights.
enum class WeightSource {
  kPacked,   // the panels as they are (layout.h)
  kScratch,  // q4 panels unpacked by emitUnpack: bytes and f32 scales
};

struct Tile {
  program::Encoding weight;
  WeightSource source;
  int prefetch_bytes;  // ahead in each panel; 0: none
};

/// Adds the products over k columns to `sums` (rows x panels 16-lane values, row major) and returns them. x: pointer to each row;
/// panels: pointer to each panel (kScratch: panels[0] is the scratch, the others unused); both at the first of the k columns.
/// num_panels is the tile's width. k: i64; of quantised weights a multiple of 64, or what is left of the row.
Vals emitTile(Fn& e, const Tile& tile, const Vals& x, const Vals& panels, int num_panels, Val k, const Vals& sums);

/// Unpacks q4 panels into scratch: per block of 32 [8 steps of 4 k][panel][64 bytes], then [panel][16 f32 scales].
void emitUnpack(Fn& e, const Vals& panels, Val scratch, Val k);

constexpr int64_t kScratchBlockBytes = 8 * 64 + 64;  // per block and panel

}  // namespace exo::codegen
