#include "codegen/matrix_tiles.h"

#include <llvm/IR/IntrinsicsX86.h>

#include <array>

namespace exo::codegen {
namespace {

constexpr int kRegisters = 8, kConfigBytes = 64;

/// The operand of LDTILECFG: palette 1; from byte 16 on the bytes of each register's rows (16 bits), from byte 48 on its rows.
/// All else must be zero: the instruction faults on reserved bits.
std::array<uint8_t, kConfigBytes> configuration(const std::vector<MatrixShape>& shapes) {
  std::array<uint8_t, kConfigBytes> config{};
  config[0] = 1;
  for (size_t tile = 0; tile < shapes.size(); ++tile) {
    config[16 + 2 * tile] = static_cast<uint8_t>(shapes[tile].bytes);
    config[48 + tile] = static_cast<uint8_t>(shapes[tile].rows);
  }
  return config;
}

/// Byte `index` of every 32-bit lane, as a signed number.
Val signedByte(Val words, int index) { return shiftRightSigned(shiftLeft(words, 24 - 8 * index), 24); }

}  // namespace

MatrixTiles::MatrixTiles(Fn& e, std::vector<MatrixShape> shapes) : e_(e), shapes_(std::move(shapes)) {
  EXO_CHECK(shapes_.size() <= kRegisters);
  for (const MatrixShape& shape : shapes_) {
    EXO_CHECK(shape.rows >= 1 && shape.rows <= kRows && shape.bytes >= 4 && shape.bytes <= kRowBytes && shape.bytes % 4 == 0)
        << "no matrix tile has " << shape.rows << " rows of " << shape.bytes << " bytes";
    if (emulated()) memory_.push_back(e_.scratch(kRows * kRowBytes));
  }
}

void MatrixTiles::configure() {
  if (emulated()) {
    for (int tile = 0; tile < static_cast<int>(shapes_.size()); ++tile) zero(tile);
    return;
  }
  const auto config = configuration(shapes_);
  auto* bytes = llvm::ConstantDataArray::get(e_.b.getContext(), llvm::ArrayRef<uint8_t>(config));
  auto* global = new llvm::GlobalVariable(*e_.b.GetInsertBlock()->getModule(), bytes->getType(), true, llvm::GlobalValue::PrivateLinkage, bytes);
  global->setAlignment(llvm::Align(kConfigBytes));
  e_.b.CreateIntrinsic(llvm::Intrinsic::x86_ldtilecfg, {}, {global});
}

void MatrixTiles::release() {
  if (!emulated()) e_.b.CreateIntrinsic(llvm::Intrinsic::x86_tilerelease, {}, {});
}

void MatrixTiles::zero(int tile) {
  if (!emulated()) {
    e_.b.CreateIntrinsic(llvm::Intrinsic::x86_tilezero, {}, {e_.b.getInt8(tile)});
    return;
  }
  for (int row = 0; row < kRows; ++row) e_.store(e_.iv(0), place(tile, row), 64);
}

void MatrixTiles::load(int tile, Val pointer, Val stride) {
  if (!emulated()) {
    e_.b.CreateIntrinsic(llvm::Intrinsic::x86_tileloadd64, {}, {e_.b.getInt8(tile), pointer.v, stride.v});
    return;
  }
  zero(tile);
  const MatrixShape shape = shapes_[static_cast<size_t>(tile)];
  auto* row_type = e_.vec(e_.i8, shape.bytes);
  for (int row = 0; row < shape.rows; ++row) e_.store(e_.load(row_type, e_.at(pointer, stride * row), 1), place(tile, row), 64);
}

void MatrixTiles::store(int tile, Val pointer, int64_t stride) {
  if (!emulated()) {
    e_.b.CreateIntrinsic(llvm::Intrinsic::x86_tilestored64, {}, {e_.b.getInt8(tile), pointer.v, e_.i(stride).v});
    return;
  }
  const MatrixShape shape = shapes_[static_cast<size_t>(tile)];
  auto* row_type = e_.vec(e_.i8, shape.bytes);
  for (int row = 0; row < shape.rows; ++row) e_.store(e_.load(row_type, place(tile, row), 64), e_.at(pointer, row * stride), 1);
}

void MatrixTiles::dot(int sum, int a, int b) {
  const MatrixShape c = shapes_[static_cast<size_t>(sum)], left = shapes_[static_cast<size_t>(a)], right = shapes_[static_cast<size_t>(b)];
  EXO_CHECK(c.rows == left.rows && left.bytes == 4 * right.rows && c.bytes == right.bytes && sum != a && sum != b && a != b)
      << "matrix tiles do not fit: the instruction would fault";
  if (emulated()) return emulateDot(sum, a, b);
  e_.b.CreateIntrinsic(llvm::Intrinsic::x86_tdpbssd, {}, {e_.b.getInt8(sum), e_.b.getInt8(a), e_.b.getInt8(b)});
}

/// Lanes beyond the shape are zero in `b` and stay zero in the sum.
void MatrixTiles::emulateDot(int sum, int a, int b) {
  const MatrixShape left = shapes_[static_cast<size_t>(a)];
  e_.each(e_.i(0), e_.i(left.rows), 1, [&](Val m) {
    Val to = e_.at(memory_[static_cast<size_t>(sum)], m * kRowBytes);
    const Vals total = e_.loop(e_.i(0), e_.i(left.bytes / 4), 1, {e_.load(e_.i32v, to, 64)}, [&](Val k, Vals acc) {
      Val x = e_.broadcast(e_.i32, e_.at(e_.at(memory_[static_cast<size_t>(a)], m * kRowBytes), k * 4));
      Val w = e_.load(e_.i32v, e_.at(memory_[static_cast<size_t>(b)], k * kRowBytes), 64);
      for (int i = 0; i < 4; ++i) acc[0] = acc[0] + signedByte(x, i) * signedByte(w, i);
      return acc;
    });
    e_.store(total[0], to, 64);
  });
}

}  // namespace exo::codegen
