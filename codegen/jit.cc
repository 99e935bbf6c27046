// The JIT: units of code are compiled to objects on a few threads or taken from the object cache, and linked by ORC's JITLink
// layer. The only file that sees ORC. Thread-safe: compile() is serialised by a mutex, and functions stay valid until the Jit is
// destroyed.
#include <llvm/ExecutionEngine/JITLink/JITLinkMemoryManager.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h>
#include <llvm/Support/SmallVectorMemoryBuffer.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Target/TargetMachine.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "codegen/compile.h"
#include "codegen/host_kernels.h"
#include "codegen/object_cache.h"
#include "codegen/spec.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr unsigned kMaxCompileThreads = 4;

// ---- LLVM's errors become ours here, and only here

Error adapt(llvm::Error error, const std::string& doing) {
  return makeError(ErrorCode::kUnsupported, ErrorScope::kRank, "JIT: ", doing, ": ", llvm::toString(std::move(error)));
}

template <class T>
Result<T> adapt(llvm::Expected<T> value, const std::string& doing) {
  if (!value) return adapt(value.takeError(), doing);
  return std::move(*value);
}

// ---- the JIT

class OrcJit final : public Jit {
 public:
  OrcJit(Target target, ObjectCache cache, std::unique_ptr<llvm::orc::LLJIT> lljit)
      : target_(std::move(target)), cache_(std::move(cache)), lljit_(std::move(lljit)) {}

  Isa isa() const override { return target_.isa; }
  Result<std::vector<CompiledKernel>> compile(std::span<const Kernel* const> kernels) override;
  Status defineHostKernels();

 private:
  struct Pending {
    Unit unit;
    std::string object;
  };
  void request(Unit unit, std::vector<Pending>& pending) const;
  Status build(std::vector<Pending>& pending) const;
  Status compileAll(const std::vector<Pending*>& missing) const;
  Status link(std::vector<Pending>& pending);
  Result<CompiledKernel> find(const Kernel& kernel);

  const Target target_;
  const ObjectCache cache_;
  std::mutex mutex_;
  std::set<std::string> linked_;
  std::unique_ptr<llvm::orc::LLJIT> lljit_;
};

void OrcJit::request(Unit unit, std::vector<Pending>& pending) const {
  if (linked_.count(unit.symbol)) return;
  for (const Pending& other : pending) {
    if (other.unit.symbol == unit.symbol) return;
  }
  pending.push_back({std::move(unit), {}});
}

Status OrcJit::compileAll(const std::vector<Pending*>& missing) const {
  std::atomic<size_t> next{0};
  std::mutex failure_mutex;
  Status failure;
  auto work = [&] {
    auto machine = targetMachine(target_);
    for (size_t i = next++; i < missing.size(); i = next++) {
      Result<std::string> object = machine.ok() ? compileUnit(missing[i]->unit, target_, **machine) : Result<std::string>(machine.error());
      if (object.ok()) {
        cache_.store(cacheKey(missing[i]->unit, target_), *object);
        missing[i]->object = std::move(*object);
      } else {
        std::lock_guard lock(failure_mutex);
        failure = Error(object.error());
      }
    }
  };
  const size_t threads = std::min<size_t>({missing.size(), std::max(1u, std::thread::hardware_concurrency()), kMaxCompileThreads});
  std::vector<std::jthread> helpers;
  for (size_t t = 1; t < threads; ++t) helpers.emplace_back(work);
  work();
  helpers.clear();
  return failure;
}

Status OrcJit::build(std::vector<Pending>& pending) const {
  std::vector<Pending*> missing;
  for (Pending& one : pending) {
    if (auto object = cache_.load(cacheKey(one.unit, target_))) {
      one.object = std::move(*object);
    } else {
      missing.push_back(&one);
    }
  }
  return missing.empty() ? Status() : compileAll(missing);
}

Status OrcJit::link(std::vector<Pending>& pending) {
  for (Pending& one : pending) {
    auto buffer = llvm::MemoryBuffer::getMemBufferCopy(one.object, one.unit.symbol);
    if (llvm::Error error = lljit_->addObjectFile(std::move(buffer))) return adapt(std::move(error), "adding " + one.unit.symbol);
    linked_.insert(one.unit.symbol);
  }
  return {};
}

Result<CompiledKernel> OrcJit::find(const Kernel& kernel) {
  EXO_ASSIGN(llvm::orc::ExecutorAddr address, adapt(lljit_->lookup(kernelSymbol(kernel)), "linking " + Kernel::Op_Name(kernel.op())));
  return CompiledKernel{address.toPtr<KernelFn>(), static_cast<size_t>(scratchBytes(kernel))};
}

Result<std::vector<CompiledKernel>> OrcJit::compile(std::span<const Kernel* const> kernels) {
  std::lock_guard lock(mutex_);
  std::vector<Pending> pending;
  for (const Kernel* kernel : kernels) {
    EXO_TRY(checkKernel(*kernel));
    for (Unit& unit : unitsOf(*kernel)) request(std::move(unit), pending);
  }
  EXO_TRY(build(pending));
  EXO_TRY(link(pending));
  std::vector<CompiledKernel> compiled;
  for (const Kernel* kernel : kernels) {
    EXO_ASSIGN(CompiledKernel one, find(*kernel));
    compiled.push_back(one);
  }
  return compiled;
}

Status OrcJit::defineHostKernels() {
  llvm::orc::SymbolMap symbols;
  for (const HostKernel& host : hostKernels()) {
    symbols[lljit_->mangleAndIntern(host.symbol)] = {llvm::orc::ExecutorAddr::fromPtr(host.function), llvm::JITSymbolFlags::Exported};
  }
  if (llvm::Error error = lljit_->getMainJITDylib().define(llvm::orc::absoluteSymbols(std::move(symbols)))) {
    return adapt(std::move(error), "defining host kernels");
  }
  return {};
}

llvm::Expected<std::unique_ptr<llvm::orc::ObjectLayer>> makeLinkLayer(llvm::orc::ExecutionSession& session, const llvm::Triple&) {
  return std::make_unique<llvm::orc::ObjectLinkingLayer>(session);
}

Result<std::unique_ptr<llvm::orc::LLJIT>> makeLlJit(const Target& target) {
  llvm::orc::JITTargetMachineBuilder builder{llvm::Triple(target.triple)};
  return adapt(llvm::orc::LLJITBuilder()
                   .setJITTargetMachineBuilder(std::move(builder))
                   .setObjectLinkingLayerCreator(makeLinkLayer)
                   .setPlatformSetUp(llvm::orc::setUpInactivePlatform)
                   .setLinkProcessSymbolsByDefault(false)  // generated code calls host kernels and nothing else
                   .create(),
               "creating the linker");
}

}  // namespace

Result<std::unique_ptr<Jit>> createJit(Target target, const std::string& cache_dir) {
  static const bool kInitialised = !llvm::InitializeNativeTarget() && !llvm::InitializeNativeTargetAsmPrinter();
  if (!kInitialised) return makeError(ErrorCode::kUnsupported, ErrorScope::kRank, "JIT: LLVM has no code generator for this machine");
  EXO_ASSIGN(std::unique_ptr<llvm::orc::LLJIT> lljit, makeLlJit(target));
  auto jit = std::make_unique<OrcJit>(std::move(target), ObjectCache(cache_dir), std::move(lljit));
  EXO_TRY(jit->defineHostKernels());
  return std::unique_ptr<Jit>(std::move(jit));
}

Result<std::unique_ptr<Jit>> Jit::create(const JitOptions& options) {
  EXO_ASSIGN(Target target, Target::forHost(options.isa));
  return createJit(std::move(target), options.cache_dir);
}

}  // namespace exo::codegen
