// The emitters: each writes one KernelFn, named `symbol`, into a module. Internal to codegen.
#pragma once

#include <cstddef>

#include "codegen/kernel.h"
#include "codegen/vec.h"

namespace exo::codegen {

/// A kernel under construction: KernelFn's arguments and access to KernelArgs and StepView.
class Entry : public Fn {
 public:
  Entry(llvm::Module& module, const std::string& symbol, const Target& target) : Fn(module, symbol, "piip", target) {}
  Val begin() { return arg(1); }
  Val end() { return arg(2); }
  Val scratchMemory() { return arg(3); }
  Val rows() { return load(i64, at(arg(0), offsetof(KernelArgs, rows)), 8); }
  Val in(int index) { return load(ptr, at(arg(0), offsetof(KernelArgs, in) + 8 * index), 8); }
  Val out(int index) { return load(ptr, at(arg(0), offsetof(KernelArgs, out) + 8 * index), 8); }
  Val step(size_t field) { return load(ptr, at(load(ptr, at(arg(0), offsetof(KernelArgs, step)), 8), field), 8); }
  Val stepNumber(size_t field) { return load(i64, at(load(ptr, at(arg(0), offsetof(KernelArgs, step)), 8), field), 8); }
  /// Element `index` of an i32 array, as i64.
  Val index(Val array, Val which) { return wrap(b.CreateSExt(load(i32, at(array, which * 4), 4).v, i64)); }

  /// Rows of these units: units are rows, or with a grain columns of all rows.
  void eachRow(const program::Kernel& kernel, const std::function<void(Val row)>& body) {
    kernel.grain() ? each(i(0), rows(), 1, body) : each(begin(), end(), 1, body);
  }
  /// In a row, parts [first, last) of `width` columns each (heads, blocks) that these units have of `count`.
  void eachPart(const program::Kernel& kernel, int64_t count, int64_t width, const std::function<void(Val part)>& body);
  /// Emits `body` for the units that have the last of `count` columns.
  void whenLast(const program::Kernel& kernel, int64_t count, const std::function<void()>& body);
  /// In a row, steps of 16 lanes over the columns that these units have of `count`: body(column, lanes).
  void eachColumn(const program::Kernel& kernel, int64_t count, const std::function<void(Val column, int lanes)>& body);
};

// emit_elementwise.cc
void emitRmsNorm(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitHeadNorm(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitAdd(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitBiasAdd(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitSquareSum(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitNormBySum(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitSigmoidMul(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitSoftCap(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitSiluMul(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitHeadConcat(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitTakeRows(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitExpertGather(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitExpertBiasAdd(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitExpertBiasSum(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitWeightedSum(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
// emit_quantize.cc
void emitQuantize(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
// emit_rope.cc
void emitRope(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
int64_t ropeScratchBytes(const program::Kernel&);
// emit_kv_append.cc
void emitKvAppend(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
// emit_attention.cc
void emitAttention(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
int64_t attentionScratchBytes(const program::Kernel&);
int64_t attentionPartialBytes(const program::Kernel&);  // of one query and chunk

// emit_matmul.cc. The loops depend on the encoding alone and are one object shared by all shapes ("panels"); a MATMUL,
// HEAD_MATMUL or EXPERT_MATMUL of one shape is a few instructions that call them.
std::string panelsSymbol(const program::Kernel&);
void emitPanels(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitMatMul(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitExpertMatMul(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
void emitHeadMatMul(llvm::Module&, const std::string& symbol, const program::Kernel&, const Target&);
int64_t matMulScratchBytes(const program::Kernel&);

// emit_host.cc: a call of the C++ function `host_function` (host_kernels.h) with the kernel's numbers.
void emitHostCall(llvm::Module&, const std::string& symbol, const std::string& host_function, const program::Kernel&, const Target&);

constexpr int64_t kPanelsPerUnit = 4;  // of EXPERT_MATMUL and HEAD_MATMUL, and of MATMUL without a grain

}  // namespace exo::codegen
