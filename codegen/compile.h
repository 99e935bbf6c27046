// Units of code (a kernel, or loops that several kernels share) and their way to an object. Internal to codegen.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/target.h"

namespace llvm {
class Module;
class TargetMachine;
}  // namespace llvm

namespace exo::codegen {

/// One object: what it is called, what tells it from all others, and how to write it.
struct Unit {
  std::string symbol;
  std::string spec;
  program::Kernel kernel;
  bool is_panels = false;  // the loops of matrix products, laid out as the target's MatMulLoops say
  std::function<void(llvm::Module&, const Unit&, const Target&)> emit;
};

std::string kernelSymbol(const program::Kernel& kernel);

/// The kernel's unit first, then those it calls.
std::vector<Unit> unitsOf(const program::Kernel& kernel);

/// What tells this unit's object for this target from all others.
std::string cacheKey(const Unit& unit, const Target& target);

/// A Jit for a target of one's own: tests and the tuner. The host must have what it describes.
Result<std::unique_ptr<Jit>> createJit(Target target, const std::string& cache_dir);

/// One per thread.
Result<std::unique_ptr<llvm::TargetMachine>> targetMachine(const Target& target);

/// The object, as ELF.
Result<std::string> compileUnit(const Unit& unit, const Target& target, llvm::TargetMachine& machine);

}  // namespace exo::codegen
