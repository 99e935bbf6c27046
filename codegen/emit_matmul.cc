// MATMUL, HEAD_MATMUL and EXPERT_MATMUL. The loops ("panels" function) take shapes at run time and exist once per encoding.
//
// panels(x, weight, out, order, rows, n, k, first_panel, last_panel, scratch, group, x_row, out_row): rows of x times panels
//   [first, last). Dense: row i of x goes to row i of out. Indexed (experts): for p = order[i], row p / group of x goes to row p
//   of out. x_row and out_row are bytes from one row to the next: of HEAD_MATMUL other heads lie between.
//
// Blocking: for each block of rows, of panels, of K: every tile of rows times every panel, so that a panel's part of one block of
// K is read from the first cache and the rows' from the second. Between blocks of K the sums wait in scratch: an element is
// the same sequence of additions as without blocks. Few rows, which one tile covers, are not blocked: the weights are one stream.
// Where there are matrix tiles, many rows of quantised weights go to them, kMatrixRows at a time; rows that are left over at the end
// of a block are computed with those before them, a second time.
#include <optional>

#include "codegen/emit_tile.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr int kScratchRows = 24;       // from so many rows on, unpacking q4 first pays (where it pays at all)
constexpr int64_t kBlockRows = kRowBlock;  // a multiple of every tile's
constexpr int64_t kBlockPanels = 4;
constexpr int64_t kWidestTile = 2;      // panels
constexpr int64_t kLongestBlockK = 2048;   // of quantised weights: what scratch is made for
constexpr int64_t kMatrixBlockK = 512;     // two unpacked panels stay in the first cache beside a tile's rows
constexpr const char* kSignature = "ppppiiiiipiii";
constexpr int kNumArguments = 13;
static_assert(kBlockRows % kMatrixRows == 0 && kWidestTile == kMatrixPanels && kMatrixBlockK <= kLongestBlockK);

// Scratch: sums of the block's rows, and of those computed a second time; then the unpacked weights.
constexpr int64_t kSumsBytes = (kBlockRows + kMatrixRows) * kBlockPanels * 64;

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
  Val xRow() { return arg(11); }
  Val outRow() { return arg(12); }

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

  const MatMulLoops& loops() const { return target.loops(kernel_.weight()); }
  TileShape shape() const { return loops().tile; }
  bool hasMatrix() const { return isQuantised(kernel_) && target.matrix != MatrixUnit::kNone; }
  bool unpacks() const { return kernel_.weight() == program::Q4 && loops().unpack != 0 && !hasMatrix(); }
  Val manyRows() { return i(kScratchRows) <= rows(); }
  Val usesMatrix() { return select(i(0) < k(), manyRows(), wrap(b.getFalse())); }
  Val panelBytesAt(Val columns);
  Val xBytes(Val columns);
  Vals panelIndices(Val first, int count);
  Vals panelPointers(const Vals& indices, Val column);
  Rows rowPointers(const Block& block, Val first, Val slot, int count);
  void ranges(Val from, Val to, Val step, const std::function<void(Range)>& body);
  void decode();
  void blocks();
  void panelsOfBlock(const Block& block, TileShape shape, const std::function<void(const Vals&)>& body);
  void tiles(const Block& block, const Vals& indices);
  void matrixTiles(const Block& block, const Vals& indices);
  void remainingRows(const Block& block, const Vals& indices, Range left);
  void tile(const Block& block, Tile shape, const Vals& indices, Val row, Val slot, int count);
  Tile vectorTile(WeightSource source, int width) const;
  void storeTile(const Vals& acc, const Rows& rows, const Vals& indices);

  const Kernel& kernel_;
  std::optional<MatrixTiles> matrix_;
  MatrixOperands matrix_operands_;
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

/// Rows first, first + 1, ... of all; their sums wait in slots slot, slot + 1, ...
Panels::Rows Panels::rowPointers(const Block& block, Val first, Val slot, int count) {
  Rows pointers;
  for (int row = 0; row < count; ++row) {
    Val to = first + row, from = to;
    if (isIndexed(kernel_)) {
      to = wrap(b.CreateSExt(load(i32, at(arg(3), to * 4), 4).v, i64));
      from = to / arg(10);
    }
    pointers.in.push_back(at(at(x(), from * xRow()), xBytes(block.columns.from)));
    pointers.out.push_back(at(out(), to * outRow()));
    pointers.sums.push_back(at(scratchMemory(), (slot + row) * (kBlockPanels * 64)));
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

/// One row. With plain weights there is one sum per lane over all of K, so several panels side by side hide the latency of its additions.
void Panels::decode() {
  const int width = loops().stream_panels;
  each(firstPanel(), lastPanel(), width, [&](Val panel) {
    const Vals indices = panelIndices(panel, width);
    const Rows row = rowPointers({{i(0), i(1)}, {}, {i(0), k()}}, i(0), i(0), 1);
    const Tile shape{kernel_.weight(), WeightSource::kPacked, loops().stream_prefetch};
    storeTile(emitTile(*this, shape, row.in, panelPointers(indices, i(0)), width, k(), Vals(indices.size(), fv(0))), row, indices);
  });
}

Tile Panels::vectorTile(WeightSource source, int width) const {
  const bool stream = source == WeightSource::kPacked && isQuantised(kernel_);
  return {kernel_.weight(), source, !stream ? 0 : width == 1 ? loops().stream_prefetch : loops().tile_prefetch};
}

/// `count` rows from `row` on times the panels of `indices`, over the block's columns. Between blocks of K the sums wait in the
/// slots from `slot` on.
void Panels::tile(const Block& block, Tile shape, const Vals& indices, Val row, Val slot, int count) {
  const int width = static_cast<int>(indices.size());
  const Rows rows = rowPointers(block, row, slot, count);
  const bool packed = shape.source == WeightSource::kPacked;
  const Vals panels = packed ? panelPointers(indices, block.columns.from) : Vals{at(scratchMemory(), kSumsBytes)};
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
        auto one = [&] { tile(block, vectorTile(WeightSource::kPacked, 1), {indices[p]}, left.from, left.from - block.rows.from, count); };
        p == 0 ? one() : when(indices[p - 1] < indices[p], one);
      }
    });
  }
}

void Panels::tiles(const Block& block, const Vals& indices) {
  const int count = shape().rows, width = shape().panels;
  Val whole = block.rows.from + (block.rows.to - block.rows.from) / i(count) * count;
  auto wholeTiles = [&](WeightSource source) {
    each(block.rows.from, whole, count, [&](Val row) { tile(block, vectorTile(source, width), indices, row, row - block.rows.from, count); });
  };
  auto unpacked = [&] {
    emitUnpack(*this, panelPointers(indices, block.columns.from), at(scratchMemory(), kSumsBytes), block.columns.to - block.columns.from);
    wholeTiles(WeightSource::kScratch);
  };
  if (unpacks()) {
    when(manyRows(), unpacked, [&] { wholeTiles(WeightSource::kPacked); });
  } else {
    wholeTiles(WeightSource::kPacked);
  }
  remainingRows(block, indices, {whole, block.rows.to});
}

/// The last tile ends with the block's last row, wherever it begins: there are at least kScratchRows rows. What it computes a second
/// time has sums of its own.
void Panels::matrixTiles(const Block& block, const Vals& indices) {
  emitUnpackSigned(*this, kernel_.weight(), panelPointers(indices, block.columns.from), at(scratchMemory(), kSumsBytes), block.columns.to - block.columns.from);
  const Tile shape{kernel_.weight(), WeightSource::kMatrix, 0, matrix_operands_};
  each(block.rows.from, block.rows.to, kMatrixRows, [&](Val row) {
    Val last = block.rows.to - kMatrixRows, is_whole = row <= last;
    tile(block, shape, indices, select(is_whole, row, last), select(is_whole, row - block.rows.from, i(kBlockRows)), kMatrixRows);
  });
}

void Panels::panelsOfBlock(const Block& block, TileShape shape, const std::function<void(const Vals&)>& body) {
  each(block.panels.from, block.panels.to, shape.panels, [&](Val panel) { body(panelIndices(panel, shape.panels)); });
}

/// [from, to) in pieces of `step`; at least one, which is empty if the range is.
void Panels::ranges(Val from, Val to, Val step, const std::function<void(Range)>& body) {
  each(i(0), maxI((to - from + step - 1) / step, i(1)), 1, [&](Val index) {
    Val begin = from + index * step;
    body({begin, minI(begin + step, to)});
  });
}

void Panels::blocks() {
  Val few = rows() <= i(shape().rows), several = rows() < i(kScratchRows);
  Val columns = select(few, maxI(k(), i(1)), i(loops().block_k));
  if (hasMatrix()) columns = select(usesMatrix(), i(kMatrixBlockK), columns);
  Val panels = select(several, i(shape().panels), i(kBlockPanels));
  auto vector = [&](const Block& block) { panelsOfBlock(block, shape(), [&](const Vals& indices) { tiles(block, indices); }); };
  auto matrix = [&](const Block& block) {
    panelsOfBlock(block, {kMatrixRows, kMatrixPanels}, [&](const Vals& indices) { matrixTiles(block, indices); });
  };
  ranges(i(0), rows(), i(kBlockRows), [&](Range block_rows) {
    ranges(firstPanel(), lastPanel(), panels, [&](Range block_panels) {
      ranges(i(0), k(), columns, [&](Range block_columns) {
        const Block block{block_rows, block_panels, block_columns};
        hasMatrix() ? when(usesMatrix(), [&] { matrix(block); }, [&] { vector(block); }) : vector(block);
      });
    });
  });
}

void Panels::emit() {
  EXO_CHECK(shape().panels <= kWidestTile && kBlockRows % shape().rows == 0 && kBlockPanels % shape().panels == 0 &&
            (!isQuantised(kernel_) || loops().block_k <= kLongestBlockK)) << "no loops for tiles of " << shape().rows << " x " << shape().panels;
  if (hasMatrix()) {
    matrix_.emplace(*this, matrixShapes());
    const bool gathers = isIndexed(kernel_);
    matrix_operands_ = {&*matrix_, scratch(kMatrixSumsBytes), gathers ? Val{} : xRow(), gathers ? scratch(kMatrixRowsBytes) : Val{}};
    when(usesMatrix(), [&] { matrix_->configure(); });
  }
  auto several = [&] { when(i(0) < rows(), [&] { blocks(); }); };
  when(rows() == i(1), [&] { decode(); }, several);
  if (hasMatrix()) when(usesMatrix(), [&] { matrix_->release(); });
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

Val xRowBytes(Entry& e, const Kernel& kernel, int64_t columns) { return e.i(activationRowBytes(kernel.input(), columns)); }

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
                         e.scratchMemory(), e.i(1), xRowBytes(e, kernel, kernel.k()), e.i(4 * kernel.n())});
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
                           e.i(k), first, last, e.scratchMemory(), e.i(group), xRowBytes(e, kernel, k), e.i(4 * n)});
  });
  e.finish();
}

/// A row of x has head_dim columns of each head, of which the first k are multiplied: what X8 has behind them in its last pair of
/// blocks meets weights of zero.
void emitHeadMatMul(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t heads = kernel.heads(), n = kernel.n(), k = kernel.k(), head_dim = kernel.head_dim();
  Val x = e.in(0), weight = e.in(1), out = e.out(0);
  e.each(e.begin(), e.end(), 1, [&](Val unit) {
    Val head = unit % e.i(heads), first = unit / e.i(heads) * kPanelsPerUnit;
    Val last = e.minI(first + kPanelsPerUnit, e.i(numPanels(kernel)));
    callPanels(e, kernel, {e.at(x, head * activationRowBytes(kernel.input(), head_dim)), e.at(weight, head * packedBytes(kernel.weight(), n, k)), e.at(out, head * (4 * n)), x,
                           e.rows(), e.i(n), e.i(k), first, last, e.scratchMemory(), e.i(1), xRowBytes(e, kernel, heads * head_dim), e.i(4 * heads * n)});
  });
  e.finish();
}

int64_t matMulScratchBytes(const Kernel& kernel) {
  const int64_t unpacked_k = kernel.weight() == program::Q4 ? kLongestBlockK : kernel.weight() == program::Q8 ? kMatrixBlockK : 0;
  return kSumsBytes + unpacked_k / kBlock * kWidestTile * kScratchBlockBytes;
}

}  // namespace exo::codegen
