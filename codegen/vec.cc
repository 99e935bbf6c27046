// The vector language: loops, memory and the few operations that differ from one instruction set to the next.
#include "codegen/vec.h"

#include <llvm/IR/InlineAsm.h>
#include <llvm/IR/IntrinsicsAArch64.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <numeric>

#include "ir/base/result.h"

namespace exo::codegen {
namespace {

void setAttributes(llvm::Function* function, const Target& target) {
  function->addFnAttr("target-cpu", target.cpu);
  function->addFnAttr("tune-cpu", target.tune);
  if (!target.features.empty()) function->addFnAttr("target-features", target.features);
  // LLVM aborts on 512-bit intrinsics in functions for which it would rather split vectors.
  const char* width = target.has_masks ? "512" : "256";
  function->addFnAttr("prefer-vector-width", width);
  function->addFnAttr("min-legal-vector-width", width);
  function->addFnAttr("no-trapping-math", "true");
  function->addFnAttr(llvm::Attribute::NoUnwind);
}

}  // namespace

Fn::Fn(llvm::Module& module, const std::string& name, const char* signature, const Target& t)
    : b(module.getContext()), target(t) {
  i8 = b.getInt8Ty(), i16 = b.getInt16Ty(), i32 = b.getInt32Ty(), i64 = b.getInt64Ty();
  f16 = b.getHalfTy(), f32 = b.getFloatTy(), f64 = b.getDoubleTy(), ptr = b.getPtrTy();
  f32v = vec(f32), i32v = vec(i32);
  std::vector<llvm::Type*> types;
  for (const char* s = signature; *s; ++s) types.push_back(*s == 'p' ? ptr : i64);
  auto* type = llvm::FunctionType::get(b.getVoidTy(), types, false);
  function_ = module.getFunction(name);
  if (!function_) function_ = llvm::Function::Create(type, llvm::Function::ExternalLinkage, name, module);
  setAttributes(function_, target);
  b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function_));
}

void Fn::finish() {
  b.CreateRetVoid();
  std::string problem;
  llvm::raw_string_ostream out(problem);
  EXO_CHECK(!llvm::verifyFunction(*function_, &out)) << out.str();
}

Val Fn::arg(int index) { return wrap(function_->getArg(index)); }

Val Fn::iota() {
  std::vector<llvm::Constant*> lanes;
  for (int lane = 0; lane < kLanes; ++lane) lanes.push_back(b.getInt32(lane));
  return wrap(llvm::ConstantVector::get(lanes));
}

Val Fn::table(const std::vector<double>& values, llvm::Type* element) {
  std::vector<llvm::Constant*> constants;
  for (double value : values) constants.push_back(llvm::ConstantFP::get(element, value));
  auto* type = llvm::ArrayType::get(element, constants.size());
  auto* global = new llvm::GlobalVariable(*function_->getParent(), type, true, llvm::GlobalValue::PrivateLinkage,
                                          llvm::ConstantArray::get(type, constants));
  global->setAlignment(llvm::Align(64));
  return wrap(global);
}

// ---- memory

static llvm::Constant* firstLanes(llvm::IRBuilder<>& b, int lanes) {
  std::vector<llvm::Constant*> mask;
  for (int lane = 0; lane < kLanes; ++lane) mask.push_back(b.getInt1(lane < lanes));
  return llvm::ConstantVector::get(mask);
}

Val Fn::loadLanes(Val pointer, int lanes) {
  if (lanes == kLanes) return load(f32v, pointer, 4);
  return wrap(b.CreateMaskedLoad(f32v, pointer.v, llvm::Align(4), firstLanes(b, lanes), llvm::Constant::getNullValue(f32v)));
}

void Fn::storeLanes(Val value, Val pointer, int lanes) {
  if (lanes == kLanes) return store(value, pointer, 4);
  b.CreateMaskedStore(value.v, pointer.v, llvm::Align(4), firstLanes(b, lanes));
}

void Fn::storeFirst(Val value, Val pointer, Val count) {
  if (target.has_masks) {
    Val mask = iota() < splat(wrap(b.CreateTrunc(count.v, i32)));
    b.CreateMaskedStore(value.v, pointer.v, llvm::Align(4), mask.v);
    return;
  }
  Val copy = scratch(64);
  store(value, copy, 64);
  each(i(0), count, 1, [&](Val lane) { store(load(f32, at(copy, lane * 4), 4), at(pointer, lane * 4), 4); });
}

void Fn::prefetch(Val pointer, int locality) {
  b.CreateIntrinsic(llvm::Intrinsic::prefetch, {ptr}, {pointer.v, b.getInt32(0), b.getInt32(locality), b.getInt32(1)});
}

Val Fn::scratch(int64_t bytes) {
  llvm::IRBuilder<> entry(&function_->getEntryBlock(), function_->getEntryBlock().begin());
  auto* place = entry.CreateAlloca(llvm::ArrayType::get(i8, bytes));
  place->setAlignment(llvm::Align(64));
  return wrap(place);
}

// ---- arithmetic

llvm::Type* Fn::sameLanes(Val x, llvm::Type* element) {
  auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(x.type());
  return vector ? vec(element, vector->getNumElements()) : element;
}

Val Fn::fma(Val x, Val y, Val z) {
  if (!target.has_fma) return x * y + z;  // the intrinsic would become a call into libm
  return wrap(b.CreateIntrinsic(llvm::Intrinsic::fma, {x.type()}, {x.v, y.v, z.v}));
}

Val Fn::fromHalf(Val x) {
  if (target.has_f16c) return wrap(b.CreateFPExt(b.CreateBitCast(x.v, vec(f16)), f32v));
  Val wide = wrap(b.CreateZExt(x.v, i32v));
  Val sign = shiftLeft(wide & 0x8000, 16), magnitude = wide & 0x7fff;
  Val normal = shiftLeft(magnitude, 13) + 0x38000000;
  Val subnormal = bits(toFloat(magnitude) * fv(0x1p-24), i32v);
  return bits(select(magnitude < iv(0x400), subnormal, normal) | sign, f32v);
}

Val Fn::toHalf(Val x) {
  x = min(max(x, fv(-65504.0)), fv(65504.0));
  if (target.has_f16c) return bits(wrap(b.CreateFPTrunc(x.v, vec(f16))), vec(i16));
  Val raw = bits(x, i32v), sign = shiftRight(raw, 16) & 0x8000, magnitude = raw & 0x7fffffff;
  Val subnormal = bits(bits(magnitude, f32v) + fv(0.5), i32v) - 0x3f000000;
  Val normal = shiftRight(magnitude + 0xfff + (shiftRight(magnitude, 13) & 1) - 0x38000000, 13);
  return wrap(b.CreateTrunc((select(magnitude < iv(0x38800000), subnormal, normal) | sign).v, vec(i16)));
}

Val Fn::fromBFloat(Val x) { return bits(shiftLeft(wrap(b.CreateZExt(x.v, i32v)), 16), f32v); }

// exp(x) = 2^n * 2^g, n integer, |g| <= 1/2; 2^g by the Cephes polynomial of degree 6. Adding 1.5*2^23 rounds to the nearest
// integer on every machine and leaves it in the low bits.
Val Fn::exp(Val x) {
  Val t = min(max(x * fv(1.44269504088896341), fv(-127.0)), fv(127.0));  // at -127 the power's bits are those of zero
  Val shifted = t + fv(12582912.0);
  Val g = t - (shifted - fv(12582912.0));
  Val p = fv(1.535336188319500e-4);
  for (double c : {1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2, 2.402264791363012e-1, 6.931472028550421e-1, 1.0}) {
    p = fma(p, g, fv(c));
  }
  Val power = shiftLeft(bits(shifted, i32v) + (127 - 0x4b400000), 23);
  return p * bits(power, f32v);
}

Val Fn::softCap(Val x, double cap) {  // tanh(u) = 1 - 2 / (exp(2u) + 1)
  return fv(cap) * (fv(1) - fv(2) / (exp(x * fv(2 / cap)) + fv(1)));
}

Val Fn::part(Val x, int from, int lanes) {
  std::vector<int> mask(lanes);
  std::iota(mask.begin(), mask.end(), from);
  return wrap(b.CreateShuffleVector(x.v, mask));
}

Val Fn::join(Vals parts) {
  while (parts.size() > 1) {
    Vals next;
    for (size_t k = 0; k < parts.size(); k += 2) {
      std::vector<int> mask(2 * llvm::cast<llvm::FixedVectorType>(parts[k].type())->getNumElements());
      std::iota(mask.begin(), mask.end(), 0);
      next.push_back(wrap(b.CreateShuffleVector(parts[k].v, parts[k + 1].v, mask)));
    }
    parts = next;
  }
  return parts[0];
}

Val Fn::fold(Val x, const std::function<Val(Val, Val)>& combine) {
  for (int lanes = kLanes / 2; lanes >= 1; lanes /= 2) x = combine(part(x, 0, lanes), part(x, lanes, lanes));
  return wrap(b.CreateExtractElement(x.v, uint64_t{0}));
}
Val Fn::sum(Val x) {
  return fold(x, [](Val a, Val c) { return a + c; });
}
Val Fn::largest(Val x) {
  return fold(x, [this](Val a, Val c) { return max(a, c); });
}

// ---- dot products of four bytes per lane

Val Fn::dotSplit(llvm::Intrinsic::ID id, Val acc, Val a, Val x, int lanes) {
  Vals parts;
  for (int from = 0; from < kLanes; from += lanes) {
    parts.push_back(wrap(b.CreateIntrinsic(id, {}, {part(acc, from, lanes).v, part(a, from, lanes).v, part(x, from, lanes).v})));
  }
  return join(parts);
}

Val Fn::dotNeon(llvm::Intrinsic::ID id, Val acc, Val a, Val x) {
  constexpr int kLanesOfQ = 4;
  llvm::Type *words = vec(i32, kLanesOfQ), *bytes = vec(i8, 4 * kLanesOfQ);
  Vals parts;
  for (int from = 0; from < kLanes; from += kLanesOfQ) {
    parts.push_back(wrap(b.CreateIntrinsic(id, {words, bytes}, {part(acc, from, kLanesOfQ).v, bits(part(a, from, kLanesOfQ), bytes).v,
                                                                bits(part(x, from, kLanesOfQ), bytes).v})));
  }
  return join(parts);
}

/// An intrinsic that multiplies and adds neighbouring elements, over vectors of any length, `lanes` elements at a time.
Val Fn::pairs(llvm::Intrinsic::ID id, Val a, Val x, int lanes) {
  const int all = static_cast<int>(llvm::cast<llvm::FixedVectorType>(a.type())->getNumElements());
  Vals parts;
  for (int from = 0; from < all; from += lanes) {
    parts.push_back(wrap(b.CreateIntrinsic(id, {}, {part(a, from, lanes).v, part(x, from, lanes).v})));
  }
  return join(parts);
}

/// x, computed where it stands. Without this LLVM's machine combiner turns the chains of additions of a tile into trees, which
/// need more registers than there are: on Zen 3 as many loads from the stack as products, and 40 % of the speed.
Val Fn::inOrder(Val x) {
  Vals parts;
  auto* type = vec(i16, 16);
  auto* nothing = llvm::InlineAsm::get(llvm::FunctionType::get(type, {type}, false), "", "=x,0", /*hasSideEffects=*/true);
  for (int from = 0; from < 2 * kLanes; from += 16) parts.push_back(wrap(b.CreateCall(nothing, {part(x, from, 16).v})));
  return join(parts);
}

/// Even and odd bytes as 16-bit halves of each lane, multiplied and added in pairs: exact for all bytes.
Val Fn::dotWords(Val acc, Val a, Val x) {
  llvm::Type* halves = vec(i16, 2 * kLanes);
  Val a_even = bits(a & 0x00ff00ff, halves), a_odd = shiftRight(bits(a, halves), 8);
  Val x_even = shiftRightSigned(shiftLeft(bits(x, halves), 8), 8), x_odd = shiftRightSigned(bits(x, halves), 8);
  constexpr auto kMultiply = llvm::Intrinsic::x86_sse2_pmadd_wd;
  return acc + pairs(kMultiply, a_even, x_even, 8) + pairs(kMultiply, a_odd, x_odd, 8);
}

Val Fn::dotPlain(Val acc, Val a, Val x) {
  for (int byte = 0; byte < 4; ++byte) {
    acc = acc + (shiftRight(a, 8 * byte) & 255) * shiftRightSigned(shiftLeft(x, 24 - 8 * byte), 24);
  }
  return acc;
}

Val Fn::dotStart(Val start) {
  return target.dot == Dot::kMaddUbs ? wrap(llvm::Constant::getNullValue(vec(i16, 2 * kLanes))) : start;
}

Val Fn::dot4(Val running, Val a, Val x) {
  switch (target.dot) {
    case Dot::kVnni512: return wrap(b.CreateIntrinsic(llvm::Intrinsic::x86_avx512_vpdpbusd_512, {}, {running.v, a.v, x.v}));
    case Dot::kVnni256: return dotSplit(llvm::Intrinsic::x86_avx512_vpdpbusd_256, running, a, x, 8);
    case Dot::kMaddUbs: {
      llvm::Type* bytes = vec(i8, 4 * kLanes);
      return inOrder(running + pairs(llvm::Intrinsic::x86_avx2_pmadd_ub_sw, bits(a, bytes), bits(x, bytes), 32));
    }
    case Dot::kUsdot: return dotNeon(llvm::Intrinsic::aarch64_neon_usdot, running, a, x);
    case Dot::kSdot: return dotNeon(llvm::Intrinsic::aarch64_neon_sdot, running, a, x);
    case Dot::kMaddWd: return dotWords(running, a, x);
    case Dot::kPlain: return dotPlain(running, a, x);
  }
  return running;
}

Val Fn::dotSum(Val running, Val start, int factor) {
  if (target.dot != Dot::kMaddUbs) return running;
  return start + pairs(llvm::Intrinsic::x86_avx2_pmadd_wd, running, integer(running, factor), 16);
}

// ---- control

Vals Fn::loopBody(Val begin, Val end, int64_t step, const Vals& init, const Body& body, llvm::BasicBlock* before,
                  llvm::BasicBlock* head) {
  b.SetInsertPoint(head);
  auto* counter = b.CreatePHI(i64, 2);
  counter->addIncoming(begin.v, before);
  std::vector<llvm::PHINode*> carried;
  Vals current;
  for (const Val& value : init) {
    carried.push_back(b.CreatePHI(value.type(), 2));
    carried.back()->addIncoming(value.v, before);
    current.push_back(wrap(carried.back()));
  }
  Vals next = body(wrap(counter), current);
  llvm::Value* stepped = b.CreateNSWAdd(counter, b.getInt64(step));
  auto* exit = llvm::BasicBlock::Create(b.getContext(), "exit", function_);
  auto* latch = b.GetInsertBlock();
  b.CreateCondBr(b.CreateICmpSLT(stepped, end.v), head, exit);
  counter->addIncoming(stepped, latch);
  for (size_t k = 0; k < carried.size(); ++k) carried[k]->addIncoming(next[k].v, latch);
  b.SetInsertPoint(exit);
  return next;
}

Vals Fn::loop(Val begin, Val end, int64_t step, const Vals& init, const Body& body) {
  auto* first = llvm::dyn_cast<llvm::ConstantInt>(begin.v);
  auto* last = llvm::dyn_cast<llvm::ConstantInt>(end.v);
  const bool known = first && last;
  if (known && first->getSExtValue() >= last->getSExtValue()) return init;
  auto* before = b.GetInsertBlock();
  auto* head = llvm::BasicBlock::Create(b.getContext(), "loop", function_);
  if (known) {
    b.CreateBr(head);
    return loopBody(begin, end, step, init, body, before, head);
  }
  auto* skip = llvm::BasicBlock::Create(b.getContext(), "after", function_);
  b.CreateCondBr(b.CreateICmpSLT(begin.v, end.v), head, skip);
  Vals next = loopBody(begin, end, step, init, body, before, head);
  auto* exit = b.GetInsertBlock();
  b.CreateBr(skip);
  b.SetInsertPoint(skip);
  Vals out;
  for (size_t k = 0; k < init.size(); ++k) {
    auto* merged = b.CreatePHI(init[k].type(), 2);
    merged->addIncoming(init[k].v, before);
    merged->addIncoming(next[k].v, exit);
    out.push_back(wrap(merged));
  }
  return out;
}

void Fn::each(Val begin, Val end, int64_t step, const std::function<void(Val)>& body) {
  loop(begin, end, step, {}, [&](Val counter, Vals) {
    body(counter);
    return Vals{};
  });
}

Vals Fn::repeat(const Vals& init, const std::function<Val(Vals)>& condition, const std::function<Vals(Vals)>& body) {
  auto* before = b.GetInsertBlock();
  auto* head = llvm::BasicBlock::Create(b.getContext(), "while", function_);
  auto* inside = llvm::BasicBlock::Create(b.getContext(), "do", function_);
  auto* done = llvm::BasicBlock::Create(b.getContext(), "done", function_);
  b.CreateBr(head);
  b.SetInsertPoint(head);
  std::vector<llvm::PHINode*> carried;
  Vals current;
  for (const Val& value : init) {
    carried.push_back(b.CreatePHI(value.type(), 2));
    carried.back()->addIncoming(value.v, before);
    current.push_back(wrap(carried.back()));
  }
  b.CreateCondBr(condition(current).v, inside, done);
  b.SetInsertPoint(inside);
  const Vals next = body(current);
  for (size_t k = 0; k < carried.size(); ++k) carried[k]->addIncoming(next[k].v, b.GetInsertBlock());
  b.CreateBr(head);
  b.SetInsertPoint(done);
  return current;
}

void Fn::when(Val condition, const std::function<void()>& then, const std::function<void()>& otherwise) {
  auto* yes = llvm::BasicBlock::Create(b.getContext(), "then", function_);
  auto* no = llvm::BasicBlock::Create(b.getContext(), "else", function_);
  auto* join = llvm::BasicBlock::Create(b.getContext(), "endif", function_);
  b.CreateCondBr(condition.v, yes, no);
  b.SetInsertPoint(yes);
  then();
  b.CreateBr(join);
  b.SetInsertPoint(no);
  if (otherwise) otherwise();
  b.CreateBr(join);
  b.SetInsertPoint(join);
}

Vals Fn::columns(int64_t count, const Vals& init, const std::function<Vals(Val, int, Vals)>& body) {
  const int64_t full = count / kLanes * kLanes;
  Vals carried = loop(i(0), i(full), kLanes, init, [&](Val offset, Vals values) { return body(offset, kLanes, values); });
  if (full < count) carried = body(i(full), static_cast<int>(count - full), carried);
  return carried;
}

void Fn::columns(int64_t count, const std::function<void(Val, int)>& body) {
  columns(count, {}, [&](Val offset, int lanes, Vals) {
    body(offset, lanes);
    return Vals{};
  });
}

}  // namespace exo::codegen
