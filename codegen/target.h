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

struct TileShape {
  int rows;
  int panels;
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
  TileShape integer_tile{};    // q8, q4: i32 and f32 accumulators
  TileShape float_tile{};      // f32, bf16, f16
  bool unpack_q4 = false;      // prefill unpacks 4-bit weights once per block of rows, instead of in every tile
  int gemv_panels = 1;         // panels side by side in decode with plain weights
  int accumulators = 2;        // 16-lane accumulators that attention may hold
  int attention_queries = 2;   // of as many queries at once

  /// Describes `isa` (kAuto: the best) on this host. Error kUnsupported if the host lacks it.
  static Result<Target> forHost(Isa isa);
  /// Describes `isa`, whatever this machine is. Not kAuto.
  static Target of(Isa isa);
};

}  // namespace exo::codegen
