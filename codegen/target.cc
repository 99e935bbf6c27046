// Instruction sets: names, what the host has, and the Target of each.
#include "codegen/target.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/Triple.h>

#include <initializer_list>

#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace exo::codegen {
namespace {

bool hostHas(std::initializer_list<const char*> features) {
  static const llvm::StringMap<bool> kHost = llvm::sys::getHostCPUFeatures();
  for (const char* feature : features) {
    if (!kHost.lookup(feature)) return false;
  }
  return true;
}

bool hostIs(llvm::Triple::ArchType arch) { return llvm::Triple(llvm::sys::getProcessTriple()).getArch() == arch; }

/// LLVM reads AArch64's features from the list in /proc/cpuinfo, and of it not the dot products; the kernel tells them here.
bool hostHasArm([[maybe_unused]] bool i8mm) {
#if defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20, kInt8Matrices = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
  return (getauxval(AT_HWCAP) & kDotProducts) && (!i8mm || (getauxval(AT_HWCAP2) & kInt8Matrices));
#else
  return false;
#endif
}

/// Linux lets a process use the registers of matrix tiles only after it has asked, before which the first use is a fault. Asked once;
/// threads have what their process has, also those that run already. LLVM's features tell that CPU and kernel know the registers.
bool kernelGrantsTiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool kGranted = ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return kGranted;
#else
  return false;
#endif
}

bool hostSupports(Isa isa) {
  const bool avx2 = hostIs(llvm::Triple::x86_64) && hostHas({"avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"});
  const bool vnni = avx2 && hostHas({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512vnni"});
  switch (isa) {
    case Isa::kAmx: return vnni && hostHas({"amx-tile", "amx-int8"}) && kernelGrantsTiles();
    case Isa::kAvx512Vnni: return vnni;
    case Isa::kAvxVnni: return avx2 && hostHas({"avxvnni"});
    case Isa::kAvx2: return avx2;
    case Isa::kNeonI8mm: return hostHasArm(true);
    case Isa::kNeonDotprod: return hostHasArm(false);
    case Isa::kGeneric:
    case Isa::kAuto: return true;
  }
  return false;
}

/// The parts of a description that name a machine: the host's where it is of that architecture.
Target machineOf(Isa isa, llvm::Triple::ArchType arch, const char* triple, const char* cpu) {
  Target target{.isa = isa, .triple = triple, .cpu = cpu, .tune = "generic"};
  if (hostIs(arch)) {
    target.triple = llvm::sys::getProcessTriple();
    target.tune = llvm::sys::getHostCPUName().str();
  }
  return target;
}

Target describeGeneric() {
  const bool x86 = hostIs(llvm::Triple::x86_64);
  Target target{.isa = Isa::kGeneric, .triple = llvm::sys::getProcessTriple(), .tune = llvm::sys::getHostCPUName().str()};
  target.cpu = x86 ? "x86-64" : "generic";
  target.dot = x86 ? Dot::kMaddWd : Dot::kPlain;
  target.plain.tile = {3, 1};
  return target;
}

Target describeNeon(Isa isa) {
  Target target = machineOf(isa, llvm::Triple::aarch64, "aarch64-unknown-linux-gnu", "generic");
  const bool i8mm = isa == Isa::kNeonI8mm;
  target.features = i8mm ? "+dotprod,+i8mm" : "+dotprod";
  target.dot = i8mm ? Dot::kUsdot : Dot::kSdot;
  target.has_fma = target.has_f16c = true;
  target.q4.tile = target.q8.tile = {4, 1};
  target.plain.tile = {6, 1};
  target.plain.stream_panels = 2;
  target.accumulators = 4;
  return target;
}

Target describeAvx(Isa isa) {
  Target target = machineOf(isa, llvm::Triple::x86_64, "x86_64-unknown-linux-gnu", "x86-64-v3");
  target.has_fma = target.has_f16c = true;
  target.dot = Dot::kMaddUbs;
  target.q4.tile = target.q8.tile = {4, 1};
  target.plain.tile = {6, 1};
  target.plain.stream_panels = 2;
  target.accumulators = 4;
  target.attention_queries = 6;
  if (isa == Isa::kAvxVnni) {
    target.features = "+avxvnni";
    target.dot = Dot::kVnni256;
  }
  if (isa == Isa::kAvx512Vnni || isa == Isa::kAmx) {
    target.cpu = "x86-64-v4";
    target.features = "+avx512vnni";
    target.dot = Dot::kVnni512;
    target.has_masks = true;
    target.q4.unpack = 1;
    target.q4.tile = target.q8.tile = target.plain.tile = {6, 2};
    target.q4.tile_prefetch = target.q8.tile_prefetch = 1024;
    target.plain.stream_panels = 4;
    target.accumulators = 16;
    target.attention_queries = 8;
  }
  if (isa == Isa::kAmx) {
    target.features += ",+amx-tile,+amx-int8";
    target.matrix = MatrixUnit::kAmx;
  }
  return target;
}

struct NamedIsa {
  Isa isa;
  const char* name;
};
constexpr NamedIsa kNames[] = {{Isa::kAuto, "auto"},
                               {Isa::kAmx, "amx"},
                               {Isa::kAvx512Vnni, "avx512-vnni"},
                               {Isa::kAvxVnni, "avx-vnni"},
                               {Isa::kAvx2, "avx2"},
                               {Isa::kNeonI8mm, "neon-i8mm"},
                               {Isa::kNeonDotprod, "neon-dotprod"},
                               {Isa::kGeneric, "generic"}};
constexpr Isa kBestFirst[] = {Isa::kAmx, Isa::kAvx512Vnni, Isa::kAvxVnni, Isa::kAvx2, Isa::kNeonI8mm, Isa::kNeonDotprod, Isa::kGeneric};

}  // namespace

std::span<const Isa> allIsas() { return kBestFirst; }

const char* name(Isa isa) {
  for (const NamedIsa& one : kNames) {
    if (one.isa == isa) return one.name;
  }
  return "?";
}

Result<Isa> parseIsa(const std::string& text) {
  std::string names;
  for (const NamedIsa& one : kNames) {
    if (text == one.name) return one.isa;
    names += (names.empty() ? "" : ", ") + std::string(one.name);
  }
  return invalid("unknown instruction set \"", text, "\"; expected one of ", names);
}

Isa hostIsa() {
  for (Isa isa : kBestFirst) {
    if (hostSupports(isa)) return isa;
  }
  return Isa::kGeneric;
}

Status checkHost(Isa isa) {
  if (hostSupports(isa)) return {};
  return makeError(ErrorCode::kUnsupported, ErrorScope::kRank, "this machine has no ", name(isa), "; its best is ", name(hostIsa()));
}

Target Target::of(Isa isa) {
  switch (isa) {
    case Isa::kNeonI8mm:
    case Isa::kNeonDotprod: return describeNeon(isa);
    case Isa::kAmx:
    case Isa::kAvx512Vnni:
    case Isa::kAvxVnni:
    case Isa::kAvx2: return describeAvx(isa);
    case Isa::kGeneric:
    case Isa::kAuto: break;
  }
  return describeGeneric();
}

MatMulLoops& Target::loops(program::Encoding weight) { return weight == program::Q4 ? q4 : weight == program::Q8 ? q8 : plain; }

const MatMulLoops& Target::loops(program::Encoding weight) const { return const_cast<Target*>(this)->loops(weight); }

Result<Target> Target::forHost(Isa isa) {
  if (isa == Isa::kAuto) isa = hostIsa();
  EXO_TRY(checkHost(isa));
  return of(isa);
}

}  // namespace exo::codegen
