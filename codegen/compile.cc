// Emits units and compiles them: no linker, no cache, so any instruction set that LLVM knows can be a target.
#include "codegen/compile.h"

#include <llvm/Config/llvm-config.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/MC/MCContext.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Target/TargetMachine.h>

#include <sstream>

#include "codegen/emit.h"
#include "codegen/host_kernels.h"
#include "codegen/object_cache.h"
#include "codegen/spec.h"

namespace exo::codegen {
namespace {

using program::Kernel;

// Part of every object's key: raise it whenever emitted code changes for an unchanged spec.
constexpr int kEmitterVersion = 10;

using Emitter = void (*)(llvm::Module&, const std::string& symbol, const Kernel&, const Target&);

Emitter emitterOf(Kernel::Op op) {
  switch (op) {
    case Kernel::RMS_NORM: return emitRmsNorm;
    case Kernel::HEAD_NORM: return emitHeadNorm;
    case Kernel::QUANTIZE: return emitQuantize;
    case Kernel::MATMUL: return emitMatMul;
    case Kernel::EXPERT_MATMUL: return emitExpertMatMul;
    case Kernel::HEAD_MATMUL: return emitHeadMatMul;
    case Kernel::HEAD_CONCAT: return emitHeadConcat;
    case Kernel::ADD: return emitAdd;
    case Kernel::BIAS_ADD: return emitBiasAdd;
    case Kernel::SILU_MUL: return emitSiluMul;
    case Kernel::SQUARE_SUM: return emitSquareSum;
    case Kernel::NORM_BY_SUM: return emitNormBySum;
    case Kernel::SIGMOID_MUL: return emitSigmoidMul;
    case Kernel::SOFT_CAP: return emitSoftCap;
    case Kernel::ROPE: return emitRope;
    case Kernel::KV_APPEND: return emitKvAppend;
    case Kernel::ATTENTION: return emitAttention;
    case Kernel::TAKE_ROWS: return emitTakeRows;
    case Kernel::EXPERT_GATHER: return emitExpertGather;
    case Kernel::EXPERT_BIAS_ADD: return emitExpertBiasAdd;
    case Kernel::EXPERT_BIAS_SUM: return emitExpertBiasSum;
    case Kernel::WEIGHTED_SUM: return emitWeightedSum;
    default: return nullptr;
  }
}

const HostKernel* hostKernelOf(Kernel::Op op) {
  for (const HostKernel& host : hostKernels()) {
    if (host.op == op) return &host;
  }
  return nullptr;
}

Unit kernelUnit(const Kernel& kernel) {
  Unit unit{.symbol = kernelSymbol(kernel), .spec = kernel.SerializeAsString(), .kernel = kernel};
  if (const HostKernel* host = hostKernelOf(kernel.op())) {
    unit.emit = [host](llvm::Module& module, const Unit& u, const Target& target) {
      emitHostCall(module, u.symbol, host->symbol, u.kernel, target);
    };
  } else {
    unit.emit = [](llvm::Module& module, const Unit& u, const Target& target) {
      emitterOf(u.kernel.op())(module, u.symbol, u.kernel, target);
    };
  }
  return unit;
}

Unit panelsUnit(const Kernel& kernel) {
  Kernel shapeless;
  shapeless.set_op(kernel.op());
  shapeless.set_weight(kernel.weight());
  return {panelsSymbol(kernel), "panels " + shapeless.SerializeAsString(), shapeless, true,
          [](llvm::Module& module, const Unit& u, const Target& target) { emitPanels(module, u.symbol, u.kernel, target); }};
}

}  // namespace

std::string kernelSymbol(const Kernel& kernel) {
  std::string symbol = "exo_kernel_";
  for (unsigned char byte : kernel.SerializeAsString()) {
    symbol += "0123456789abcdef"[byte >> 4];
    symbol += "0123456789abcdef"[byte & 15];
  }
  return symbol;
}

std::vector<Unit> unitsOf(const Kernel& kernel) {
  std::vector<Unit> units{kernelUnit(kernel)};
  if (kernel.op() == Kernel::MATMUL || kernel.op() == Kernel::HEAD_MATMUL || kernel.op() == Kernel::EXPERT_MATMUL) units.push_back(panelsUnit(kernel));
  return units;
}

std::string cacheKey(const Unit& unit, const Target& target) {
  std::ostringstream key;
  key << "emitter " << kEmitterVersion << " llvm " << LLVM_VERSION_STRING << " " << target.triple << " " << target.cpu << " "
      << target.features << " tune " << target.tune << " isa " << name(target.isa);
  if (unit.is_panels) {
    const MatMulLoops& loops = target.loops(unit.kernel.weight());
    key << " tile " << loops.tile.rows << " " << loops.tile.panels << " stream " << loops.stream_panels << " prefetch " << loops.stream_prefetch
        << " " << loops.tile_prefetch << " unpack " << loops.unpack << " block " << loops.block_k << " matrix " << static_cast<int>(target.matrix);
  }
  key << " " << unit.symbol << "\n" << unit.spec;
  return key.str();
}

Result<std::unique_ptr<llvm::TargetMachine>> targetMachine(const Target& target) {
  std::string problem;
  const llvm::Target* backend = llvm::TargetRegistry::lookupTarget(target.triple, problem);
  if (!backend) return makeError(ErrorCode::kUnsupported, ErrorScope::kRank, "JIT: ", problem);
  std::unique_ptr<llvm::TargetMachine> machine(
      backend->createTargetMachine(target.triple, target.cpu, target.features, llvm::TargetOptions(), llvm::Reloc::PIC_,
                                   llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default, /*JIT=*/true));
  if (!machine) return makeError(ErrorCode::kUnsupported, ErrorScope::kRank, "JIT: no code generator for ", target.triple);
  return machine;
}

Result<std::string> compileUnit(const Unit& unit, const Target& target, llvm::TargetMachine& machine) {
  llvm::LLVMContext context;
  llvm::Module module(unit.symbol, context);
  module.setTargetTriple(target.triple);
  module.setDataLayout(machine.createDataLayout());
  unit.emit(module, unit, target);
  llvm::SmallVector<char, 0> object;
  llvm::raw_svector_ostream out(object);
  llvm::legacy::PassManager passes;
  llvm::MCContext* mc = nullptr;
  if (machine.addPassesToEmitMC(passes, mc, out)) {
    return makeError(ErrorCode::kUnsupported, ErrorScope::kRank, "JIT: ", target.triple, " cannot emit objects");
  }
  passes.run(module);
  return std::string(object.begin(), object.end());
}

Result<std::vector<Object>> emitObjects(const Kernel& kernel, Isa isa, const std::string& cache_dir) {
  static const bool kInitialised = [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmPrinters();
    return true;
  }();
  EXO_CHECK(kInitialised);
  EXO_TRY(checkKernel(kernel));
  const Target target = Target::of(isa);
  EXO_ASSIGN(std::unique_ptr<llvm::TargetMachine> machine, targetMachine(target));
  const ObjectCache cache(cache_dir);
  std::vector<Object> objects;
  for (const Unit& unit : unitsOf(kernel)) {
    const std::string key = cacheKey(unit, target);
    if (auto cached = cache.load(key)) {
      objects.push_back({unit.symbol, std::move(*cached)});
      continue;
    }
    EXO_ASSIGN(std::string bytes, compileUnit(unit, target, *machine));
    cache.store(key, bytes);
    objects.push_back({unit.symbol, std::move(bytes)});
  }
  return objects;
}

}  // namespace exo::codegen
