// A thin vector language over LLVM's IRBuilder: what the emitters are written in. Values are SSA; loops carry values; register
// tiles are C++ arrays of Val, so unrolling is decided here and never by the optimiser (none runs on this code).
// No fast-math flags anywhere: an expression is evaluated in the order it is written, on every instruction set.
// Internal to codegen: included by emit_*.cc only.
#pragma once

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "codegen/target.h"

namespace exo::codegen {

constexpr int kLanes = 16;

class Fn;

/// An SSA value and the function it belongs to.
struct Val {
  llvm::Value* v = nullptr;
  Fn* fn = nullptr;
  llvm::Type* type() const { return v->getType(); }
};
using Vals = std::vector<Val>;

/// Builds one function. `finish()` must be called once, last.
class Fn {
 public:
  /// Signature letters: 'p' pointer, 'i' i64. Returns void.
  Fn(llvm::Module& module, const std::string& name, const char* signature, const Target& target);
  void finish();

  llvm::IRBuilder<> b;
  const Target& target;
  llvm::Type *i8, *i16, *i32, *i64, *f16, *f32, *f64, *ptr;
  llvm::Type *f32v, *i32v;  // 16 lanes

  // Constants and arguments.
  Val arg(int index);
  Val i(int64_t value) { return wrap(b.getInt64(value)); }
  Val word(int32_t value) { return wrap(b.getInt32(value)); }
  Val f(double value) { return wrap(llvm::ConstantFP::get(f32, value)); }
  Val fv(double value) { return wrap(llvm::ConstantFP::get(f32v, value)); }
  Val iv(int64_t value) { return wrap(llvm::ConstantInt::get(i32v, value, true)); }
  Val iota();  // <0, 1, ... 15>
  llvm::Type* vec(llvm::Type* element, int lanes = kLanes) { return llvm::FixedVectorType::get(element, lanes); }
  Val table(const std::vector<double>& values, llvm::Type* element);  // pointer to 64-byte aligned constants
  Val wrap(llvm::Value* v) { return {v, this}; }

  // Memory. Offsets are bytes.
  Val at(Val pointer, Val offset) { return wrap(b.CreateInBoundsGEP(i8, pointer.v, offset.v)); }
  Val at(Val pointer, int64_t offset) { return offset == 0 ? pointer : wrap(b.CreateConstInBoundsGEP1_64(i8, pointer.v, offset)); }
  Val load(llvm::Type* type, Val pointer, int align) { return wrap(b.CreateAlignedLoad(type, pointer.v, llvm::Align(align))); }
  void store(Val value, Val pointer, int align) { b.CreateAlignedStore(value.v, pointer.v, llvm::Align(align)); }
  Val loadLanes(Val pointer, int lanes);              // f32; lanes < 16: the others read as zero and are not touched
  void storeLanes(Val value, Val pointer, int lanes);
  void storeFirst(Val value, Val pointer, Val count);  // f32; count in 1..16, known at run time
  Val broadcast(llvm::Type* element, Val pointer) { return splat(load(element, pointer, 4)); }
  void prefetch(Val pointer, int locality = 3);  // 3: into L1, 2: into L2
  Val scratch(int64_t bytes);  // on the stack, 64-byte aligned

  // Arithmetic beyond the operators.
  Val splat(Val scalar, int lanes = kLanes) { return wrap(b.CreateVectorSplat(lanes, scalar.v)); }
  Val fma(Val x, Val y, Val z);  // x*y + z: fused where the machine can
  Val select(Val condition, Val yes, Val no) { return wrap(b.CreateSelect(condition.v, yes.v, no.v)); }
  Val max(Val x, Val y) { return select(wrap(b.CreateFCmpOGT(x.v, y.v)), x, y); }  // y if x is NaN
  Val min(Val x, Val y) { return select(wrap(b.CreateFCmpOLT(x.v, y.v)), x, y); }
  Val minI(Val x, Val y) { return select(wrap(b.CreateICmpSLT(x.v, y.v)), x, y); }
  Val maxI(Val x, Val y) { return select(wrap(b.CreateICmpSGT(x.v, y.v)), x, y); }
  Val abs(Val x) { return wrap(b.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x.v)); }
  Val sqrt(Val x) { return wrap(b.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x.v)); }
  Val bits(Val x, llvm::Type* type) { return wrap(b.CreateBitCast(x.v, type)); }
  Val toFloat(Val x) { return wrap(b.CreateSIToFP(x.v, sameLanes(x, f32))); }
  Val fromHalf(Val x);   // <16 x i16> -> f32
  Val toHalf(Val x);     // f32 -> <16 x i16>, saturating at the largest finite value
  Val fromBFloat(Val x);
  Val exp(Val x);        // relative error 3e-7 down to exp(-87); below -88: exactly 0
  Val softCap(Val x, double cap);  // cap · tanh(x / cap), absolute error 2e-7 · cap
  Val sum(Val x);        // of 16 lanes, always as the same tree
  Val largest(Val x);

  // Sums of products u8 x s8, four to an i32 lane, within one block of 32: dotStart, dot4 eight times, dotSum. The running sum
  // is whatever the machine adds up quickest; dotSum makes i32 lanes of it: start + factor * products. `factor` is a constant.
  // Where the target says dotNibbles(), dot4 wants unsigned bytes below 16.
  Val dotStart(Val start);
  Val dot4(Val running, Val unsigned_bytes, Val signed_bytes);
  Val dotSum(Val running, Val start, int factor);

  // Control. Bodies take the counter and the carried values and give the next ones.
  using Body = std::function<Vals(Val, Vals)>;
  Vals loop(Val begin, Val end, int64_t step, const Vals& init, const Body& body);
  void each(Val begin, Val end, int64_t step, const std::function<void(Val)>& body);
  /// while (condition(carried)) carried = body(carried)
  Vals repeat(const Vals& init, const std::function<Val(Vals)>& condition, const std::function<Vals(Vals)>& body);
  void when(Val condition, const std::function<void()>& then, const std::function<void()>& otherwise = nullptr);
  /// Covers `count` elements in steps of 16 lanes: body(offset in elements, lanes). The last step may have fewer lanes.
  void columns(int64_t count, const std::function<void(Val, int)>& body);
  Vals columns(int64_t count, const Vals& init, const std::function<Vals(Val, int, Vals)>& body);

 private:
  llvm::Function* function_;
  llvm::Type* sameLanes(Val x, llvm::Type* element);
  Val part(Val x, int from, int lanes);
  Val join(Vals parts);
  Val dotSplit(llvm::Intrinsic::ID id, Val acc, Val a, Val x, int lanes);
  Val dotNeon(llvm::Intrinsic::ID id, Val acc, Val a, Val x);
  Val pairs(llvm::Intrinsic::ID id, Val a, Val x, int lanes);
  Val inOrder(Val x);
  Val dotWords(Val acc, Val a, Val x);
  Val dotPlain(Val acc, Val a, Val x);
  Val fold(Val x, const std::function<Val(Val, Val)>& combine);
  Vals loopBody(Val begin, Val end, int64_t step, const Vals& init, const Body& body, llvm::BasicBlock* before, llvm::BasicBlock* head);
};

inline bool isFloat(Val x) { return x.type()->isFPOrFPVectorTy(); }
inline Val operator+(Val a, Val c) { return a.fn->wrap(isFloat(a) ? a.fn->b.CreateFAdd(a.v, c.v) : a.fn->b.CreateAdd(a.v, c.v)); }
inline Val operator-(Val a, Val c) { return a.fn->wrap(isFloat(a) ? a.fn->b.CreateFSub(a.v, c.v) : a.fn->b.CreateSub(a.v, c.v)); }
inline Val operator*(Val a, Val c) { return a.fn->wrap(isFloat(a) ? a.fn->b.CreateFMul(a.v, c.v) : a.fn->b.CreateMul(a.v, c.v)); }
inline Val operator/(Val a, Val c) { return a.fn->wrap(isFloat(a) ? a.fn->b.CreateFDiv(a.v, c.v) : a.fn->b.CreateSDiv(a.v, c.v)); }
inline Val operator%(Val a, Val c) { return a.fn->wrap(a.fn->b.CreateSRem(a.v, c.v)); }
inline Val operator&(Val a, Val c) { return a.fn->wrap(a.fn->b.CreateAnd(a.v, c.v)); }
inline Val operator|(Val a, Val c) { return a.fn->wrap(a.fn->b.CreateOr(a.v, c.v)); }
inline Val integer(Val like, int64_t value) { return like.fn->wrap(llvm::ConstantInt::get(like.type(), value, true)); }
inline Val operator+(Val a, int64_t c) { return a + integer(a, c); }
inline Val operator-(Val a, int64_t c) { return a - integer(a, c); }
inline Val operator*(Val a, int64_t c) { return a * integer(a, c); }
inline Val operator&(Val a, int64_t c) { return a & integer(a, c); }
inline Val operator^(Val a, int64_t c) { return a.fn->wrap(a.fn->b.CreateXor(a.v, integer(a, c).v)); }
inline Val operator<(Val a, Val c) { return a.fn->wrap(isFloat(a) ? a.fn->b.CreateFCmpOLT(a.v, c.v) : a.fn->b.CreateICmpSLT(a.v, c.v)); }
inline Val operator<=(Val a, Val c) { return a.fn->wrap(isFloat(a) ? a.fn->b.CreateFCmpOLE(a.v, c.v) : a.fn->b.CreateICmpSLE(a.v, c.v)); }
inline Val operator==(Val a, Val c) { return a.fn->wrap(isFloat(a) ? a.fn->b.CreateFCmpOEQ(a.v, c.v) : a.fn->b.CreateICmpEQ(a.v, c.v)); }
inline Val shiftRight(Val a, int bits) { return a.fn->wrap(a.fn->b.CreateLShr(a.v, bits)); }
inline Val shiftLeft(Val a, int bits) { return a.fn->wrap(a.fn->b.CreateShl(a.v, bits)); }
inline Val shiftRightSigned(Val a, int bits) { return a.fn->wrap(a.fn->b.CreateAShr(a.v, bits)); }

}  // namespace exo::codegen
