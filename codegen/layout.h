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

constexpr int64_t kPanelRows = 16;      // rows of a weight interleaved so that one lane is one row
constexpr int64_t kBlock = 32;          // elements of K under one scale
constexpr int64_t kPageTokens = 64;     // positions in a page of the KV cache

/// Bytes of a packed [rows, columns] weight; rows are padded to kPanelRows, columns to what the encoding needs.
int64_t packedBytes(program::Encoding encoding, int64_t rows, int64_t columns);

/// Bytes of one row of activations in `encoding` (X8: quantised blocks with scales and compensations).
int64_t activationRowBytes(program::Encoding encoding, int64_t columns);

/// Reads row `row` of a [rows, columns] weight slice as f32 into `out` (columns floats).
using RowReader = std::function<Status(int64_t row, std::span<float> out)>;

/// Packs a weight slice into `out` (packedBytes). Quantised encodings quantise each row in blocks of 32 along K:
/// q8: scale = max|w| / 127; q4: the signed maximum maps to -8. Deterministic.
Status packPanels(program::Encoding encoding, int64_t rows, int64_t columns, const RowReader& read, std::span<std::byte> out);

/// The inverse for one row: what the packed row means, in f32. For tests, the reference and `verify`.
void unpackRow(program::Encoding encoding, int64_t rows, int64_t columns, std::span<const std::byte> packed, int64_t row,
               std::span<float> out);

/// Rounds values through a block quantisation, exactly as packPanels does: the reference interpreter's weights.
void roundTrip(program::Encoding encoding, std::span<float> row);

/// Bytes of one layer's cache of `pages` pages.
int64_t cacheBytes(program::Encoding encoding, int64_t pages, int64_t kv_heads, int64_t key_dim, int64_t value_dim);

}  // namespace exo::codegen
