// MATMUL and EXPERT_MATMUL. The loops ("panels" function) take shapes at run time and exist once per encoding.
//
// panels(x, weight, out, order, rows, n, k, first_panel, last_panel, scratch, group): rows of x times panels [first, last).
//   Dense: row i of x goes to row i of out. Indexed (experts): for p = order[i], row p / group of x goes to row p of out.
//
// Blocking: for each block of rows, of panels, of K: every tile of rows times every panel, so that a panel's part of one block of
// K is read from the first cache and the rows' from the second. Between blocks of K the sums wait in scratch: an element is
// the same sequence of additions as without blocks. Few rows, which one tile covers, are not blocked: the weights are one stream.
#include "codegen/emit_tile.h"
#include "codegen/layout.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr int kScratchRows = 24;       // from so many rows on, unpacking q4 first pays (where it pays at all)
constexpr int64_t kBlockRows = 96;     // rows in a block: a multiple of every tile's
constexpr int64_t kBlockPanels = 4;
constexpr int64_t kQuantisedBlockK = 2048;
constexpr int64_t kPlainBlockK = 256;
// How far ahead of a panel's loads to prefetch, in bytes. Decode of quantised panels is one stream and wants to be about a
// DRAM latency ahead; plain panels run as several streams. Tiles of several rows: plain ones gained nothing.
constexpr int kStreamPrefetch = 4096;
constexpr int kPlainPrefetch = 2048;
constexpr int kTilePrefetch = 1024;
constexpr const char* kSignature = "ppppiiiiipi";
constexpr int kNumArguments = 11;
constexpr int64_t kSumsBytes = kBlockRows * kBlockPanels * 64;  // of scratch; behind them the unpacked weights

bool isIndexed(const Kernel& kernel) { return kernel.op() == Kernel::EXPERT_MATMUL; }
bool isQuantised(const Kernel& kernel) { return kernel.weight() == program::Q4 || kernel.weight() == program::Q8; }

/// The panels function under construction.
class Panels : public Fn {
 public:
  Panels(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target)
      : Fn(module, symbol, kSignature, target), kernel_(kernel) {}
  void emit();

 private:
  Val x() { return arg(0); }
  Val weight() { return arg(1); }
  Val out() { return arg(2); }
  Val rows() { return arg(4); }
  Val n() { return arg(5); }
  Val k() { return arg(6); }
  Val firstPanel() { return arg(7); }
  Val lastPanel() { return arg(8); }
  Val scratchMemory() { return arg(9); }

  /// [from, to)
  struct Range {
    Val from, to;
  };
  /// What the tiles of one block of K share.
  struct Block {
    Range rows, panels, columns;
  };
  struct Rows {
    Vals in, out, sums;
  };

  TileShape shape() const { return isQuantised(kernel_) ? target.integer_tile : target.float_tile; }
  bool unpacks() const { return kernel_.weight() == program::Q4 && target.unpack_q4; }
  Val panelBytesAt(Val columns);
  Val xBytes(Val columns);
  Vals panelIndices(Val first, int count);
  Vals panelPointers(const Vals& indices, Val column);
  Rows rowPointers(const Block& block, Val first, int count);
  void ranges(Val from, Val to, Val step, const std::function<void(Range)>& body);
  void decodePlain();
  void blocks();
  void panelsOfBlock(const Block& block);
  void tiles(const Block& block, const Vals& indices);
  void remainingRows(const Block& block, const Vals& indices, Range left);
  void tile(const Block& block, WeightSource source, const Vals& indices, Val row, int count);
  void storeTile(const Vals& acc, const Rows& rows, const Vals& indices);

  const Kernel& kernel_;
};

Val Panels::panelBytesAt(Val columns) {
  const program::Encoding encoding = kernel_.weight();
  if (isQuantised(kernel_)) return (columns + (kSuperblock - 1)) / i(kSuperblock) * panelBytes(encoding, kSuperblock);
  if (encoding == program::F32) return columns * (4 * kPanelRows);
  return ((columns + 1) & -2) * (2 * kPanelRows);
}

Val Panels::xBytes(Val columns) {
  if (isQuantised(kernel_)) return (columns + (kSuperblock - 1)) / i(kSuperblock) * kX8SuperblockBytes;
  return columns * 4;
}

/// Indices beyond the last panel are clamped to it, which is then computed and stored twice: same bits, no branch.
Vals Panels::panelIndices(Val first, int count) {
  Vals indices;
  for (int p = 0; p < count; ++p) indices.push_back(p == 0 ? first : minI(first + p, lastPanel() - 1));
  return indices;
}

Vals Panels::panelPointers(const Vals& indices, Val column) {
  Vals pointers;
  for (const Val& index : indices) pointers.push_back(at(at(weight(), index * panelBytesAt(k())), panelBytesAt(column)));
  return pointers;
}

Panels::Rows Panels::rowPointers(const Block& block, Val first, int count) {
  Rows pointers;
  for (int row = 0; row < count; ++row) {
    Val to = first + row, from = to;
    if (isIndexed(kernel_)) {
      to = wrap(b.CreateSExt(load(i32, at(arg(3), to * 4), 4).v, i64));
      from = to / arg(10);
    }
    pointers.in.push_back(at(at(x(), from * xBytes(k())), xBytes(block.columns.from)));
    pointers.out.push_back(at(out(), to * n() * 4));
    pointers.sums.push_back(at(scratchMemory(), (first + row - block.rows.from) * (kBlockPanels * 64)));
  }
  return pointers;
}

void Panels::storeTile(const Vals& acc, const Rows& rows, const Vals& indices) {
  const size_t width = indices.size();
  auto whole = [&] {
    for (size_t s = 0; s < acc.size(); ++s) store(acc[s], at(rows.out[s / width], indices[s % width] * (4 * kPanelRows)), 4);
  };
  auto partial = [&] {
    for (size_t s = 0; s < acc.size(); ++s) {
      Val column = indices[s % width] * kPanelRows;
      storeFirst(acc[s], at(rows.out[s / width], column * 4), minI(n() - column, i(kPanelRows)));
    }
  };
  when(indices.back() * kPanelRows + kPanelRows <= n(), whole, partial);
}

/// One row of plain weights: one sum per lane over all of K, so several panels side by side hide the latency of its additions.
void Panels::decodePlain() {
  each(firstPanel(), lastPanel(), target.gemv_panels, [&](Val panel) {
    const Vals indices = panelIndices(panel, target.gemv_panels);
    const Rows row = rowPointers({{i(0), i(1)}, {}, {i(0), k()}}, i(0), 1);
    const Tile tile{kernel_.weight(), WeightSource::kPacked, kPlainPrefetch};
    const Vals zeros(indices.size(), fv(0));
    storeTile(emitTile(*this, tile, row.in, panelPointers(indices, i(0)), target.gemv_panels, k(), zeros), row, indices);
  });
}

/// `count` rows from `row` on times the panels of `indices`, over the block's columns.
void Panels::tile(const Block& block, WeightSource source, const Vals& indices, Val row, int count) {
  const int width = static_cast<int>(indices.size());
  const Rows rows = rowPointers(block, row, count);
  const Vals panels = source == WeightSource::kScratch ? Vals{at(scratchMemory(), kSumsBytes)} : panelPointers(indices, block.columns.from);
  const bool stream = source == WeightSource::kPacked && isQuantised(kernel_);
  const Tile shape{kernel_.weight(), source, !stream ? 0 : width == 1 ? kStreamPrefetch : kTilePrefetch};
  auto place = [&](int s) { return at(rows.sums[s / width], (indices[s % width] - block.panels.from) * 64); };
  Val first = block.columns.from == i(0);
  Vals sums;
  for (int s = 0; s < count * width; ++s) sums.push_back(select(first, fv(0), load(f32v, place(s), 64)));
  sums = emitTile(*this, shape, rows.in, panels, width, block.columns.to - block.columns.from, sums);
  auto keep = [&] {
    for (int s = 0; s < count * width; ++s) store(sums[s], place(s), 64);
  };
  when(k() <= block.columns.to, [&] { storeTile(sums, rows, indices); }, keep);
}

/// Fewer rows than a tile has, panel after panel: mostly this is decode, where memory is read in one sequence (on Zen 5 97 % of
/// the read roof, against 70 % with four panels side by side; on Cascade Lake no difference).
void Panels::remainingRows(const Block& block, const Vals& indices, Range left) {
  for (int count = 1; count < shape().rows; ++count) {
    when(left.to - left.from == i(count), [&] {
      for (size_t p = 0; p < indices.size(); ++p) {
        auto one = [&] { tile(block, WeightSource::kPacked, {indices[p]}, left.from, count); };
        p == 0 ? one() : when(indices[p - 1] < indices[p], one);
      }
    });
  }
}

void Panels::tiles(const Block& block, const Vals& indices) {
  const int count = shape().rows;
  Val whole = block.rows.from + (block.rows.to - block.rows.from) / i(count) * count;
  auto wholeTiles = [&](WeightSource source) {
    each(block.rows.from, whole, count, [&](Val row) { tile(block, source, indices, row, count); });
  };
  auto unpacked = [&] {
    emitUnpack(*this, panelPointers(indices, block.columns.from), at(scratchMemory(), kSumsBytes), block.columns.to - block.columns.from);
    wholeTiles(WeightSource::kScratch);
  };
  if (unpacks()) {
    when(rows() < i(kScratchRows), [&] { wholeTiles(WeightSource::kPacked); }, unpacked);
  } else {
    wholeTiles(WeightSource::kPacked);
  }
  remainingRows(block, indices, {whole, block.rows.to});
}

void Panels::panelsOfBlock(const Block& block) {
  each(block.panels.from, block.panels.to, shape().panels, [&](Val panel) { tiles(block, panelIndices(panel, shape().panels)); });
}

/// [from, to) in pieces of `step`; at least one, which is empty if the range is.
void Panels::ranges(Val from, Val to, Val step, const std::function<void(Range)>& body) {
  each(i(0), maxI((to - from + step - 1) / step, i(1)), 1, [&](Val index) {
    Val begin = from + index * step;
    body({begin, minI(begin + step, to)});
  });
}

void Panels::blocks() {
  const int64_t block_k = isQuantised(kernel_) ? kQuantisedBlockK : kPlainBlockK;
  Val few = rows() <= i(shape().rows), several = rows() < i(kScratchRows);
  Val columns = select(few, maxI(k(), i(1)), i(block_k));
  Val panels = select(several, i(shape().panels), i(kBlockPanels));
  ranges(i(0), rows(), i(kBlockRows), [&](Range block_rows) {
    ranges(firstPanel(), lastPanel(), panels, [&](Range block_panels) {
      ranges(i(0), k(), columns, [&](Range block_columns) { panelsOfBlock({block_rows, block_panels, block_columns}); });
    });
  });
}

void Panels::emit() {
  auto any = [&] { when(i(0) < rows(), [&] { blocks(); }); };
  if (isQuantised(kernel_)) {
    any();
  } else {
    when(rows() == i(1), [&] { decodePlain(); }, any);
  }
  finish();
}

void callPanels(Entry& e, const Kernel& kernel, const Vals& arguments) {
  llvm::Module& module = *e.b.GetInsertBlock()->getModule();
  std::vector<llvm::Type*> types;
  std::vector<llvm::Value*> values;
  for (const Val& argument : arguments) {
    types.push_back(argument.type());
    values.push_back(argument.v);
  }
  EXO_CHECK(values.size() == kNumArguments);
  auto* type = llvm::FunctionType::get(e.b.getVoidTy(), types, false);
  e.b.CreateCall(module.getOrInsertFunction(panelsSymbol(kernel), type), values);
}

int64_t numPanels(const Kernel& kernel) { return (static_cast<int64_t>(kernel.n()) + kPanelRows - 1) / kPanelRows; }

}  // namespace

std::string panelsSymbol(const Kernel& kernel) {
  return std::string(isIndexed(kernel) ? "exo_expert_panels_" : "exo_panels_") + program::Encoding_Name(kernel.weight());
}

void emitPanels(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Panels(module, symbol, kernel, target).emit();
}

void emitMatMul(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t panels = kernel.grain() ? static_cast<int64_t>(kernel.grain()) / kPanelRows : kPanelsPerUnit;
  Val first = e.begin() * panels, last = e.minI(e.end() * panels, e.i(numPanels(kernel)));
  callPanels(e, kernel, {e.in(0), e.in(1), e.out(0), e.in(0), e.rows(), e.i(kernel.n()), e.i(kernel.k()), first, last,
                         e.scratchMemory(), e.i(1)});
  e.finish();
}

void emitExpertMatMul(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t experts = kernel.experts(), n = kernel.n(), k = kernel.k(), group = kernel.group() ? kernel.group() : 1;
  Val x = e.in(0), weight = e.in(1), order = e.in(2), segments = e.in(3), out = e.out(0);
  e.each(e.begin(), e.end(), 1, [&](Val unit) {
    Val expert = unit % e.i(experts), first = unit / e.i(experts) * kPanelsPerUnit;
    Val from = e.index(segments, expert), count = e.index(segments, expert + 1) - from;
    Val last = e.minI(first + kPanelsPerUnit, e.i(numPanels(kernel)));
    callPanels(e, kernel, {x, e.at(weight, expert * packedBytes(kernel.weight(), n, k)), out, e.at(order, from * 4), count, e.i(n),
                           e.i(k), first, last, e.scratchMemory(), e.i(group)});
  });
  e.finish();
}

int64_t matMulScratchBytes(const Kernel& kernel) {
  constexpr int64_t kWidestTile = 2;
  const int64_t unpacked = kernel.weight() == program::Q4 ? kQuantisedBlockK / kBlock * kWidestTile * kScratchBlockBytes : 0;
  return kSumsBytes + unpacked;
}

}  // namespace exo::codegen
