// Register tiles. Quantised: i32 sums within a block of 32 (started at the compensation for unsigned weights), scaled and added
// to the f32 accumulator block by block. Plain: one FMA per element of K. Both in ascending order of K.
#include "codegen/emit_tile.h"

namespace exo::codegen {
namespace {

/// One block of one tile: the pointers at the block's start.
struct Block {
  Vals x;                 // values of each row
  Vals scales, offsets;   // of each row
  Vals weights;           // values of each panel
  Vals weight_scales;     // of each panel, f32 lanes
  int64_t stride;         // bytes between one load of a panel's weights and the next
};

bool isFourBit(const Tile& tile) { return tile.weight == program::Q4; }

constexpr int64_t kNibbles = 0x0f0f0f0f;

Vals low(const Vals& bytes) {
  Vals out;
  for (const Val& value : bytes) out.push_back(value & kNibbles);
  return out;
}

Vals high(const Vals& bytes) {
  Vals out;
  for (const Val& value : bytes) out.push_back(shiftRight(value, 4) & kNibbles);
  return out;
}

/// q + 128 -> q
Vals flipSigns(const Vals& bytes) {
  Vals out;
  for (const Val& value : bytes) out.push_back(value ^ static_cast<int32_t>(0x80808080));
  return out;
}

/// One load of every panel's weights.
Vals loadWeights(Fn& e, const Block& block, int step) {
  Vals w;
  for (const Val& weights : block.weights) w.push_back(e.load(e.i32v, e.at(weights, step * block.stride), 64));
  return w;
}

/// Adds products with four columns, `x_offset` bytes into the block's values, to every sum.
void multiply(Fn& e, const Block& block, const Vals& w, int64_t x_offset, Vals& sums) {
  for (size_t row = 0; row < block.x.size(); ++row) {
    Val x = e.broadcast(e.i32, e.at(block.x[row], x_offset));
    for (size_t p = 0; p < w.size(); ++p) sums[row * w.size() + p] = e.dot4(sums[row * w.size() + p], w[p], x);
  }
}

/// The block's products as integers, with what undoes the weights' offset.
Vals blockSums(Fn& e, const Tile& tile, const Block& block) {
  const bool without_offset = !isFourBit(tile) && e.target.dot == Dot::kSdot;
  Vals start, sums;
  for (const Val& compensation : block.offsets) {
    Val offset = without_offset ? e.iv(0) : e.broadcast(e.i32, compensation);
    if (!isFourBit(tile)) offset = shiftLeft(offset, 4);  // -8·Σ -> -128·Σ
    start.insert(start.end(), block.weights.size(), offset);
  }
  // One plane of the weights: `addStep` multiplies what one load holds.
  auto sumPlane = [&](int steps, int factor, const auto& addStep) {
    sums.clear();
    for (const Val& value : start) sums.push_back(e.dotStart(value));
    for (int step = 0; step < steps; ++step) addStep(step, loadWeights(e, block, step));
    for (size_t s = 0; s < sums.size(); ++s) start[s] = e.dotSum(sums[s], start[s], factor);
  };
  if (isFourBit(tile) && tile.source == WeightSource::kPacked) {
    sumPlane(4, 1, [&](int step, const Vals& w) {
      multiply(e, block, low(w), 8 * step, sums);
      multiply(e, block, high(w), 8 * step + 4, sums);
    });
  } else if (without_offset) {
    sumPlane(8, 1, [&](int step, const Vals& w) { multiply(e, block, flipSigns(w), 4 * step, sums); });
  } else if (isFourBit(tile) || !e.target.dotNibbles()) {
    sumPlane(8, 1, [&](int step, const Vals& w) { multiply(e, block, w, 4 * step, sums); });
  } else {
    sumPlane(8, 16, [&](int step, const Vals& w) { multiply(e, block, high(w), 4 * step, sums); });
    sumPlane(8, 1, [&](int step, const Vals& w) { multiply(e, block, low(w), 4 * step, sums); });
  }
  return start;
}

void accumulateBlock(Fn& e, const Tile& tile, const Block& block, Vals& acc) {
  const size_t panels = block.weights.size();
  const Vals sums = blockSums(e, tile, block);
  for (size_t row = 0; row < block.x.size(); ++row) {
    Val scale = e.broadcast(e.f32, block.scales[row]);
    for (size_t p = 0; p < panels; ++p) {
      Val& sum = acc[row * panels + p];
      sum = e.fma(e.toFloat(sums[row * panels + p]), block.weight_scales[p] * scale, sum);
    }
  }
}

int64_t superblockBytes(const Tile& tile) { return isFourBit(tile) ? kQ4SuperblockBytes : kQ8SuperblockBytes; }

Block packedBlock(Fn& e, const Tile& tile, const Vals& panels, Val superblock, int half) {
  const int64_t bytes = isFourBit(tile) ? 256 : 512;
  Block block{.stride = 64};
  for (const Val& panel : panels) {
    Val start = e.at(panel, superblock * superblockBytes(tile));
    block.weights.push_back(e.at(start, half * bytes));
    block.weight_scales.push_back(e.fromHalf(e.load(e.vec(e.i16), e.at(start, 2 * bytes + 32 * half), 32)));
  }
  return block;
}

Block scratchBlock(Fn& e, Val scratch, int panels, Val superblock, int half) {
  Block block{.stride = 64 * panels};
  Val start = e.at(scratch, superblock * (2 * panels * kScratchBlockBytes));
  for (int p = 0; p < panels; ++p) {
    block.weights.push_back(e.at(start, half * panels * kScratchBlockBytes + 64 * p));
    block.weight_scales.push_back(e.load(e.f32v, e.at(start, half * panels * kScratchBlockBytes + (8 * panels + p) * 64), 64));
  }
  return block;
}

void addRows(Fn& e, const Vals& x, Val superblock, int half, Block& block) {
  for (const Val& row : x) {
    Val start = e.at(row, superblock * kX8SuperblockBytes);
    block.x.push_back(e.at(start, half * kBlock));
    block.scales.push_back(e.at(start, kX8Scales + 4 * half));
    block.offsets.push_back(e.at(start, kX8Compensations + 4 * half));
  }
}

void prefetchPanels(Fn& e, const Tile& tile, const Vals& panels, Val offset, int64_t bytes) {
  if (tile.prefetch_bytes == 0) return;
  for (const Val& panel : panels) {
    for (int64_t line = 0; line < bytes; line += 64) e.prefetch(e.at(e.at(panel, offset), line + tile.prefetch_bytes));
  }
}

Vals quantisedTile(Fn& e, const Tile& tile, const Vals& x, const Vals& panels, int num_panels, Val k, const Vals& initial) {
  Val superblocks = (k + (kSuperblock - 1)) / e.i(kSuperblock);
  return e.loop(e.i(0), superblocks, 1, initial, [&](Val superblock, Vals acc) {
    prefetchPanels(e, tile, panels, superblock * superblockBytes(tile), superblockBytes(tile));
    for (int half = 0; half < 2; ++half) {
      Block block = tile.source == WeightSource::kScratch ? scratchBlock(e, panels[0], num_panels, superblock, half)
                                                          : packedBlock(e, tile, panels, superblock, half);
      addRows(e, x, superblock, half, block);
      accumulateBlock(e, tile, block, acc);
    }
    return acc;
  });
}

// ---- matrix tiles (AMX)
//
// A tile instruction multiplies up to 64 bytes of k. A block of 32 has a scale of its own, so its sum must leave the tile before
// the next block is added: each instruction sees 32 bytes of a row of x and 8 of the 16 possible rows of weights, half of what the
// unit can do. A panel's block, as signed bytes, is a tile as it lies: row j holds k = 4j .. 4j+3 of 16 weight rows.
//
// What bounds it is the way from the i32 sums to the scaled f32 ones. Per row of x, panel and block (512 products): convert, multiply
// the scales, multiply and add = 3 instructions on the two 512-bit ports, 1.5 cycles. The tile instruction takes one cycle per row
// of x, its store one per row; loads are 64 per 24 such rows, 1.33 cycles at two a cycle. So at best 341 products per cycle: a third of
// the unit's 1024, 2.7 times the 128 of vpdpbusd and 3.7 times what that leaves in this format (8 of 11 instructions). Counted, with
// one 64-byte store and two such loads a cycle; no machine with AMX has run this. LLVM moves 3 to 10 of the accumulators through the
// stack per 48 rows of sums, which the load ports have room for.
//
// 12 rows by 2 panels are 24 f32 accumulators of 32 registers. 16 x 1 needs 56 loads per 16 rows and would wait for them. Signed weights,
// unlike q + 128, need no correction, which would be a fourth instruction; unpacking pays for itself from 24 rows on.

enum MatrixRegister { kMatrixSum = 0, kMatrixX = 4, kMatrixWeights = 6 };  // sums: [half][panel]; x: [half]; weights: [panel]

/// Where the sums of a superblock's half and panel wait.
Val matrixSums(Fn& e, const Tile& tile, Val superblock, int half, int panel) {
  constexpr int64_t kOne = kMatrixRows * 64, kParity = 2 * kMatrixPanels * kOne;
  return e.at(e.at(tile.matrix.sums, (superblock & 1) * kParity), (half * kMatrixPanels + panel) * kOne);
}

/// The values of a superblock of x, and the distance between rows.
std::pair<Val, Val> matrixX(Fn& e, const Tile& tile, const Vals& x, Val superblock) {
  Val offset = superblock * kX8SuperblockBytes;
  if (tile.matrix.stride.v) return {e.at(x[0], offset), tile.matrix.stride};
  llvm::Type* values = e.vec(e.i8, kSuperblock);
  for (int row = 0; row < kMatrixRows; ++row) e.store(e.load(values, e.at(x[row], offset), 4), e.at(tile.matrix.rows, row * kSuperblock), 64);
  return {tile.matrix.rows, e.i(kSuperblock)};
}

/// The integer sums of a superblock, into memory.
void matrixProducts(Fn& e, const Tile& tile, const Vals& x, Val scratch, Val superblock) {
  MatrixTiles& tiles = *tile.matrix.tiles;
  const auto [values, stride] = matrixX(e, tile, x, superblock);
  for (int half = 0; half < 2; ++half) {
    const Block block = scratchBlock(e, scratch, kMatrixPanels, superblock, half);
    tiles.load(kMatrixX + half, e.at(values, half * kBlock), stride);
    for (int panel = 0; panel < kMatrixPanels; ++panel) {
      const int sum = kMatrixSum + half * kMatrixPanels + panel;
      tiles.load(kMatrixWeights + panel, block.weights[panel], e.i(block.stride));
      tiles.zero(sum);
      tiles.dot(sum, kMatrixX + half, kMatrixWeights + panel);
      tiles.store(sum, matrixSums(e, tile, superblock, half, panel), 64);
    }
  }
}

/// Scales a superblock's integer sums and adds them.
void accumulateProducts(Fn& e, const Tile& tile, const Vals& x, Val scratch, Val superblock, Vals& acc) {
  for (int half = 0; half < 2; ++half) {
    Block block = scratchBlock(e, scratch, kMatrixPanels, superblock, half);
    addRows(e, x, superblock, half, block);
    for (int row = 0; row < kMatrixRows; ++row) {
      Val scale = e.broadcast(e.f32, block.scales[row]);
      for (int panel = 0; panel < kMatrixPanels; ++panel) {
        Val products = e.load(e.i32v, e.at(matrixSums(e, tile, superblock, half, panel), row * 64), 64);
        Val& sum = acc[row * kMatrixPanels + panel];
        sum = e.fma(e.toFloat(products), block.weight_scales[panel] * scale, sum);
      }
    }
  }
}

/// The products of one superblock are formed while those of the one before are scaled: a store of a tile takes its time to be seen.
Vals matrixTile(Fn& e, const Tile& tile, const Vals& x, Val scratch, Val k, const Vals& initial) {
  EXO_CHECK(x.size() == kMatrixRows);
  Val last = (k + (kSuperblock - 1)) / e.i(kSuperblock) - 1;
  matrixProducts(e, tile, x, scratch, e.i(0));
  Vals sums = e.loop(e.i(0), last, 1, initial, [&](Val superblock, Vals acc) {
    matrixProducts(e, tile, x, scratch, superblock + 1);
    accumulateProducts(e, tile, x, scratch, superblock, acc);
    return acc;
  });
  accumulateProducts(e, tile, x, scratch, last, sums);
  return sums;
}

// ---- plain weights

Val loadPlain(Fn& e, program::Encoding encoding, Val pointer) {
  if (encoding == program::F32) return e.load(e.f32v, pointer, 64);
  Val bits = e.load(e.vec(e.i16), pointer, 32);
  return encoding == program::F16 ? e.fromHalf(bits) : e.fromBFloat(bits);
}

/// `steps` elements of K from element `k` on.
void accumulatePlain(Fn& e, const Tile& tile, const Vals& x, const Vals& panels, Val k, int steps, Vals& acc) {
  const int64_t bytes = tile.weight == program::F32 ? 64 : 32;
  for (int step = 0; step < steps; ++step) {
    Vals w;
    for (const Val& panel : panels) w.push_back(loadPlain(e, tile.weight, e.at(e.at(panel, k * bytes), step * bytes)));
    for (size_t row = 0; row < x.size(); ++row) {
      Val value = e.broadcast(e.f32, e.at(e.at(x[row], k * 4), 4 * step));
      for (size_t p = 0; p < panels.size(); ++p) acc[row * panels.size() + p] = e.fma(w[p], value, acc[row * panels.size() + p]);
    }
  }
}

Vals plainTile(Fn& e, const Tile& tile, const Vals& x, const Vals& panels, Val k, const Vals& initial) {
  constexpr int kUnroll = 4;
  const int64_t bytes = tile.weight == program::F32 ? 64 : 32;
  Val full = k & -kUnroll;
  Vals acc = e.loop(e.i(0), full, kUnroll, initial, [&](Val at, Vals sums) {
    prefetchPanels(e, tile, panels, at * bytes, bytes * kUnroll);
    accumulatePlain(e, tile, x, panels, at, kUnroll, sums);
    return sums;
  });
  return e.loop(full, k, 1, acc, [&](Val at, Vals sums) {
    accumulatePlain(e, tile, x, panels, at, 1, sums);
    return sums;
  });
}

/// The loads of a panel's block, each as what is to be stored of it: four columns.
Vals unpacked(Fn& e, program::Encoding weight, const Block& block) {
  Vals steps;
  for (int step = 0; step < (weight == program::Q4 ? 4 : 8); ++step) {
    const Vals stored = loadWeights(e, block, step);
    if (weight != program::Q4) {
      steps.push_back(stored[0]);
    } else {
      steps.insert(steps.end(), {low(stored)[0], high(stored)[0]});
    }
  }
  return steps;
}

void unpackPanels(Fn& e, program::Encoding weight, const Vals& panels, Val scratch, Val k, const std::function<Val(Val)>& change) {
  const int64_t width = static_cast<int64_t>(panels.size()), block_bytes = width * kScratchBlockBytes;
  e.each(e.i(0), (k + (kSuperblock - 1)) / e.i(kSuperblock), 1, [&](Val superblock) {
    for (int64_t p = 0; p < width; ++p) {
      for (int half = 0; half < 2; ++half) {
        const Block from = packedBlock(e, {weight, WeightSource::kPacked}, {panels[p]}, superblock, half);
        Val to = e.at(e.at(scratch, superblock * (2 * block_bytes)), half * block_bytes + 64 * p);
        const Vals steps = unpacked(e, weight, from);
        for (size_t step = 0; step < steps.size(); ++step) e.store(change(steps[step]), e.at(to, static_cast<int64_t>(step) * 64 * width), 64);
        e.store(from.weight_scales[0], e.at(to, 8 * 64 * width), 64);
      }
    }
  });
}

}  // namespace

Vals emitTile(Fn& e, const Tile& tile, const Vals& x, const Vals& panels, int num_panels, Val k, const Vals& sums) {
  if (tile.source == WeightSource::kMatrix) return matrixTile(e, tile, x, panels[0], k, sums);
  const bool quantised = tile.weight == program::Q4 || tile.weight == program::Q8;
  return quantised ? quantisedTile(e, tile, x, panels, num_panels, k, sums) : plainTile(e, tile, x, panels, k, sums);
}

std::vector<MatrixShape> matrixShapes() {
  constexpr MatrixShape kSums{kMatrixRows, 64}, kX{kMatrixRows, kBlock}, kWeights{kBlock / 4, 64};
  return {kSums, kSums, kSums, kSums, kX, kX, kWeights, kWeights};
}

void emitUnpack(Fn& e, const Vals& panels, Val scratch, Val k) {
  unpackPanels(e, program::Q4, panels, scratch, k, [](Val bytes) { return bytes; });
}

void emitUnpackSigned(Fn& e, program::Encoding weight, const Vals& panels, Val scratch, Val k) {
  llvm::Type* bytes = e.vec(e.i8, 64);
  unpackPanels(e, weight, panels, scratch, k, [&](Val stored) { return e.bits(stored, bytes) - (weight == program::Q4 ? 8 : 128); });
}

}  // namespace exo::codegen
