// MATMUL and EXPERT_MATMUL. The loops ("panels" function) take shapes at run time and exist once per encoding; rows and panels
// that a tile has too many of are clamped to the last real one, which is then computed and stored twice: same bits, no branch.
//
// panels(x, weight, out, order, rows, n, k, first_panel, last_panel, scratch, group): rows of x times panels [first, last).
//   Dense: row i of x goes to row i of out. Indexed (experts): for p = order[i], row p / group of x goes to row p of out.
#include "codegen/emit_tile.h"
#include "codegen/layout.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr int kScratchRows = 24;       // from so many rows on, unpacking q4 first pays
// How far ahead of a panel's loads to prefetch, in bytes. Decode of quantised panels is one stream and wants to be about a
// DRAM latency ahead; plain panels run as several streams. Tiles of several rows: plain ones gained nothing.
constexpr int kStreamPrefetch = 4096;
constexpr int kPlainPrefetch = 2048;
constexpr int kTilePrefetch = 1024;
constexpr const char* kSignature = "ppppiiiiipi";
constexpr int kNumArguments = 11;

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

  TileShape shape() const { return isQuantised(kernel_) ? target.integer_tile : target.float_tile; }
  Val panelBytesAt();
  Val xRowBytes();
  Vals panelIndices(Val first, int count);
  Vals panelPointers(const Vals& indices);
  struct Rows {
    Vals in, out;
  };
  Rows rowPointers(Val first, int count);
  void decode();
  void direct();
  void unpacked();
  void rowTiles(WeightSource source, const Vals& indices, const Vals& pointers);
  void storeTile(const Vals& acc, const Rows& rows, const Vals& indices);

  const Kernel& kernel_;
};

Val Panels::panelBytesAt() {
  const program::Encoding encoding = kernel_.weight();
  if (isQuantised(kernel_)) return (k() + (kSuperblock - 1)) / i(kSuperblock) * panelBytes(encoding, kSuperblock);
  if (encoding == program::F32) return k() * (4 * kPanelRows);
  return ((k() + 1) & -2) * (2 * kPanelRows);
}

Val Panels::xRowBytes() {
  if (isQuantised(kernel_)) return (k() + (kSuperblock - 1)) / i(kSuperblock) * kX8SuperblockBytes;
  return k() * 4;
}

Vals Panels::panelIndices(Val first, int count) {
  Vals indices;
  for (int p = 0; p < count; ++p) indices.push_back(minI(first + p, lastPanel() - 1));
  return indices;
}

Vals Panels::panelPointers(const Vals& indices) {
  Vals pointers;
  for (const Val& index : indices) pointers.push_back(at(weight(), index * panelBytesAt()));
  return pointers;
}

Panels::Rows Panels::rowPointers(Val first, int count) {
  Rows pointers;
  for (int row = 0; row < count; ++row) {
    Val to = minI(first + row, rows() - 1), from = to;
    if (isIndexed(kernel_)) {
      to = wrap(b.CreateSExt(load(i32, at(arg(3), to * 4), 4).v, i64));
      from = to / arg(10);
    }
    pointers.in.push_back(at(x(), from * xRowBytes()));
    pointers.out.push_back(at(out(), to * n() * 4));
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

/// One row. Quantised: panel after panel, so that memory is read in one sequence (on Zen 5 97 % of the read roof, against 70 %
/// with four panels side by side; on Cascade Lake no difference); blocks are independent sums, which overlap by themselves.
/// Plain: one sum per lane over all of K, so several panels side by side hide the latency of its additions.
void Panels::decode() {
  const int width = isQuantised(kernel_) ? 1 : target.gemv_panels;
  each(firstPanel(), lastPanel(), width, [&](Val panel) {
    const Vals indices = panelIndices(panel, width);
    const Rows row = rowPointers(i(0), 1);
    const Tile tile{kernel_.weight(), WeightSource::kPacked, isQuantised(kernel_) ? kStreamPrefetch : kPlainPrefetch};
    storeTile(emitTile(*this, tile, row.in, panelPointers(indices), width, k()), row, indices);
  });
}

void Panels::rowTiles(WeightSource source, const Vals& indices, const Vals& pointers) {
  each(i(0), rows(), shape().rows, [&](Val first) {
    const Rows tile_rows = rowPointers(first, shape().rows);
    const bool stream = source == WeightSource::kPacked && isQuantised(kernel_);
    const Tile tile{kernel_.weight(), source, stream ? kTilePrefetch : 0};
    storeTile(emitTile(*this, tile, tile_rows.in, pointers, shape().panels, k()), tile_rows, indices);
  });
}

void Panels::direct() {
  each(firstPanel(), lastPanel(), shape().panels, [&](Val panel) {
    const Vals indices = panelIndices(panel, shape().panels);
    rowTiles(WeightSource::kPacked, indices, panelPointers(indices));
  });
}

void Panels::unpacked() {
  each(firstPanel(), lastPanel(), shape().panels, [&](Val panel) {
    const Vals indices = panelIndices(panel, shape().panels);
    emitUnpack(*this, panelPointers(indices), scratchMemory(), k());
    rowTiles(WeightSource::kScratch, indices, {scratchMemory()});
  });
}

void Panels::emit() {
  auto many_rows = [&] {
    if (kernel_.weight() != program::Q4) return direct();
    when(rows() < i(kScratchRows), [&] { direct(); }, [&] { unpacked(); });
  };
  when(rows() == i(1), [&] { decode(); }, [&] { when(i(0) < rows(), many_rows); });
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
  if (kernel.weight() != program::Q4) return 0;
  const int64_t blocks = (static_cast<int64_t>(kernel.k()) + kSuperblock - 1) / kSuperblock * 2;
  constexpr int64_t kWidestTile = 2;
  return blocks * kWidestTile * kScratchBlockBytes;
}

}  // namespace exo::codegen
