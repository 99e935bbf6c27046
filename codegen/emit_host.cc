// The bridge to host_kernels.cc: a function that passes KernelFn's arguments on, with the kernel's numbers as a constant.
#include <cstring>

#include "codegen/emit.h"
#include "codegen/host_kernels.h"

namespace exo::codegen {

void emitHostCall(llvm::Module& module, const std::string& symbol, const std::string& host_function, const program::Kernel& kernel,
                  const Target& target) {
  Entry e(module, symbol, target);
  const HostNumbers numbers = hostNumbers(kernel);
  const llvm::StringRef bytes(reinterpret_cast<const char*>(&numbers), sizeof(numbers));
  auto* constant = llvm::ConstantDataArray::getString(module.getContext(), bytes, false);
  auto* global = new llvm::GlobalVariable(module, constant->getType(), true, llvm::GlobalValue::PrivateLinkage, constant);
  global->setAlignment(llvm::Align(16));
  auto* type = llvm::FunctionType::get(e.b.getVoidTy(), {e.ptr, e.i64, e.i64, e.ptr, e.ptr}, false);
  e.b.CreateCall(module.getOrInsertFunction(host_function, type),
                 {e.arg(0).v, e.begin().v, e.end().v, e.scratchMemory().v, global});
  e.finish();
}

}  // namespace exo::codegen
