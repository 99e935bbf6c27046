// How weights, quantised activations and the KV cache lie in memory: the single source of offsets that the packer,
// the emitters and the executor share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "codegen/program.pb.h"
#include "ir/base/result.h"

namespace exo::codegen {

// Of packed weights, which are kept on disk: raise it whenever the same tensors would give other bytes, be it by their
// layout, by how values are rounded or by the space a weight takes. The bytes are the same for every instruction set.
constexpr int kLayoutVersion = 1;

constexpr int64_t kPanelRows = 16;      // rows of a weight interleaved so that one lane is one row
constexpr int64_t kBlock = 32;          // elements of K under one scale
constexpr int64_t kSuperblock = 64;     // elements of K that keep q8, q4 and X8 aligned; their K is padded to it
constexpr int64_t kPageTokens = 64;     // positions in a page of the KV cache

// Panels. Panel p holds rows 16p .. 16p+15 (missing rows are zero) and follows panel p-1 directly; lane r is row 16p + r.
//   F32, BF16, F16: [k][16 lanes]; for the 16-bit ones an odd K gets one more column of zeros.
//   Q8: superblocks of 1088 bytes: [block 0: 8 x 64 B][block 1: 8 x 64 B][16 f16 scales of block 0][of block 1].
//       Byte 4r+i of the j-th 64 B is k = 4j+i of lane r, stored + 128.
//   Q4: superblocks of 576 bytes:  [block 0: 4 x 64 B][block 1: 4 x 64 B][16 f16 scales][16 f16 scales].
//       Byte 4r+i of the j-th 64 B is k = 8j+i (low nibble) and k = 8j+4+i (high nibble) of lane r, stored + 8.
constexpr int64_t kQ8SuperblockBytes = 1088;
constexpr int64_t kQ4SuperblockBytes = 576;

// X8 rows: superblocks of 80 bytes: [64 int8][2 f32 scales][2 i32 compensations = -8 * sum of the block's int8]. Rows follow
// each other without padding. Unsigned weights (q + 8, q + 128) are corrected by starting the i32 sum at 1 or 16 times it.
constexpr int64_t kX8SuperblockBytes = 80;
constexpr int64_t kX8Scales = 64;
constexpr int64_t kX8Compensations = 72;

/// Bytes between one panel and the next.
int64_t panelBytes(program::Encoding encoding, int64_t columns);

/// Bytes of a packed [rows, columns] weight; rows are padded to kPanelRows, columns to what the encoding needs.
int64_t packedBytes(program::Encoding encoding, int64_t rows, int64_t columns);

/// Bytes of one row of activations in `encoding` (X8: quantised blocks with scales and compensations, K padded to 64).
/// Rows are dense: M rows take exactly M times this.
int64_t activationRowBytes(program::Encoding encoding, int64_t columns);

/// Reads row `row` of a [rows, columns] weight slice as f32 into `out` (columns floats).
using RowReader = std::function<Status(int64_t row, std::span<float> out)>;

/// Offers the f16 scales of a row's blocks of 32, for a row that is stored in such blocks; false: there are none.
using ScaleReader = std::function<bool(int64_t row, std::span<uint16_t> scales)>;

/// Packs a weight slice into `out` (packedBytes). Quantised encodings quantise each row in blocks of 32 along K:
/// q8: scale = max|w| / 127; q4: the signed maximum maps to -8; but a block that an offered scale reproduces exactly keeps it,
/// so that weights stored in the same blocks lose nothing. Deterministic. Error kInvalidInput (naming row and column)
/// for values that are not finite or do not fit an F16 weight; `out` smaller than packedBytes is an error too.
Status packPanels(program::Encoding encoding, int64_t rows, int64_t columns, const RowReader& read, std::span<std::byte> out, const ScaleReader& scales = nullptr);

/// The inverse for one row: what the packed row means, in f32. For tests, the reference and `verify`.
void unpackRow(program::Encoding encoding, int64_t rows, int64_t columns, std::span<const std::byte> packed, int64_t row,
               std::span<float> out);

/// Rounds values through a block quantisation, exactly as packPanels does: the reference interpreter's weights.
void roundTrip(program::Encoding encoding, std::span<float> row);

/// A page of the cache of one KV head: keys [4 blocks of 16 positions][key_dim][16 positions], then values
/// [64 positions][value_dim padded to 16]. With value_dim 0, keys only, which hold the values: [64 positions][key_dim padded to
/// 16]. Heads follow each other in a page, pages in the cache.
int64_t cacheHeadBytes(program::Encoding encoding, int64_t key_dim, int64_t value_dim);

/// Elements between the values of one position and the next.
constexpr int64_t cacheValueStride(int64_t value_dim) { return (value_dim + 15) / 16 * 16; }

/// Bytes of one layer's cache of `pages` pages.
int64_t cacheBytes(program::Encoding encoding, int64_t pages, int64_t kv_heads, int64_t key_dim, int64_t value_dim);

/// IEEE binary16 and bfloat16, rounding to nearest even.
uint16_t toHalf(float value);
float fromHalf(uint16_t bits);
uint16_t toBFloat(float value);
float fromBFloat(uint16_t bits);

}  // namespace exo::codegen
