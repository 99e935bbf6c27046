// What the emitters know about the instruction set they emit for: features to hand to LLVM, which dot product to use, and
// how many rows and panels a register tile may have. A 16-lane value is one zmm, two ymm, four xmm or
// four q registers.
#pragma once

#include <string>

#include "codegen/kernel.h"
#include "ir/base/result.h"

namespace exo::codegen {

/// How sums of four products u8 x s8 are formed.
enum class Dot {
  kVnni512,  // vpdpbusd zmm
  kVnni256,  // vpdpbusd ymm
  kMaddUbs,  // pmaddubsw, summed in 16 bits over a block of 32: at most 8 * 2 * 15 * 127 = 30480, so for 4-bit values only
  kUsdot,    // usdot (i8mm)
  kSdot,     // sdot, for unsigned bytes below 128: 8-bit weights lose their offset first
  kMaddWd,   // pmaddwd on halves, SSE2
  kPlain,    // shifts and multiplications: any machine
};

/// What multiplies tiles of bytes (matrix_tiles.h).
enum class MatrixUnit {
  kNone,
  kAmx,
  kEmulated,  // plain code with the meaning of AMX's instructions: for tests, on any machine
};

struct TileShape {
  int rows;
  int panels;
  bool operator==(const TileShape&) const = default;
};

/// How the loops of a matrix product are laid out, for one class of weights. Any layout gives the same bits: each element is
/// the same sequence of operations. Hence they can be chosen by the clock (tuner.h).
struct MatMulLoops {
  TileShape tile{2, 1};         // rows and panels of a register tile
  int stream_panels = 1;        // panels side by side where there is one row: decode
  // How far ahead of a panel's loads to prefetch, in bytes; 0: not at all.
  int stream_prefetch = 4096;   // one panel at a time, which is one stream and wants to be about a DRAM latency ahead; and decode
  int tile_prefetch = 0;        // tiles of several panels; plain ones gained nothing
  int unpack = 0;               // 1, of q4: many rows unpack 4-bit weights once per block of rows, instead of in every tile
  int block_k = 2048;           // columns in a block
  bool operator==(const MatMulLoops&) const = default;
};

struct Target {
  Isa isa = Isa::kGeneric;
  std::string triple;
  std::string cpu;       // fixed per Isa, so that one Isa means one set of bits everywhere
  std::string tune;      // the host: scheduling only
  std::string features;
  Dot dot = Dot::kPlain;
  bool dotNibbles() const { return dot == Dot::kMaddUbs; }  // 8-bit weights are multiplied as two planes of 4 bits
  bool has_fma = false;
  bool has_f16c = false;
  bool has_masks = false;      // AVX-512 predicates
  MatMulLoops q4, q8;
  MatMulLoops plain{.stream_prefetch = 2048, .block_k = 256};  // f32, bf16, f16
  MatrixUnit matrix = MatrixUnit::kNone;  // multiplies q4 and q8 where there are many rows
  int accumulators = 2;        // 16-lane accumulators that attention may hold
  int attention_queries = 2;   // of as many queries at once

  const MatMulLoops& loops(program::Encoding weight) const;
  MatMulLoops& loops(program::Encoding weight);

  /// Describes `isa` (kAuto: the best) on this host. Error kUnsupported if the host lacks it.
  static Result<Target> forHost(Isa isa);
  /// Describes `isa`, whatever this machine is. Not kAuto.
  static Target of(Isa isa);
};

}  // namespace exo::codegen
