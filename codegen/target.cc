// Instruction sets: names, what the host has, and the Target of each.
#include "codegen/target.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/Triple.h>

#include <initializer_list>

namespace exo::codegen {
namespace {

bool hostHas(std::initializer_list<const char*> features) {
  static const llvm::StringMap<bool> kHost = llvm::sys::getHostCPUFeatures();
  for (const char* feature : features) {
    if (!kHost.lookup(feature)) return false;
  }
  return true;
}

bool isX86() { return llvm::Triple(llvm::sys::getProcessTriple()).getArch() == llvm::Triple::x86_64; }

bool hostSupports(Isa isa) {
  const bool avx2 = isX86() && hostHas({"avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"});
  switch (isa) {
    case Isa::kAvx512Vnni: return avx2 && hostHas({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512vnni"});
    case Isa::kAvxVnni: return avx2 && hostHas({"avxvnni"});
    case Isa::kAvx2: return avx2;
    case Isa::kGeneric:
    case Isa::kAuto: return true;
  }
  return false;
}

Target describe(Isa isa) {
  Target target{.isa = isa, .triple = llvm::sys::getProcessTriple(), .tune = llvm::sys::getHostCPUName().str()};
  const bool avx2 = isa != Isa::kGeneric;
  target.has_fma = target.has_f16c = avx2;
  target.integer_tile = {2, 1};
  target.float_tile = {3, 1};
  target.cpu = isX86() ? "x86-64" : "generic";
  target.dot = isX86() ? Dot::kMaddWd : Dot::kPlain;
  if (avx2) {
    target.cpu = "x86-64-v3";
    target.dot = Dot::kMaddUbs;
    target.integer_tile = {4, 1};
    target.float_tile = {6, 1};
    target.gemv_panels = 2;
    target.accumulators = 4;
  }
  if (isa == Isa::kAvxVnni) {
    target.features = "+avxvnni";
    target.dot = Dot::kVnni256;
  }
  if (isa == Isa::kAvx512Vnni) {
    target.cpu = "x86-64-v4";
    target.features = "+avx512vnni";
    target.dot = Dot::kVnni512;
    target.has_masks = target.unpack_q4 = true;
    target.integer_tile = target.float_tile = {6, 2};
    target.gemv_panels = 4;
    target.accumulators = 16;
  }
  return target;
}

constexpr Isa kBestFirst[] = {Isa::kAvx512Vnni, Isa::kAvxVnni, Isa::kAvx2, Isa::kGeneric};

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::kAuto: return "auto";
    case Isa::kAvx512Vnni: return "avx512-vnni";
    case Isa::kAvxVnni: return "avx-vnni";
    case Isa::kAvx2: return "avx2";
    case Isa::kGeneric: return "generic";
  }
  return "?";
}

Result<Isa> parseIsa(const std::string& text) {
  for (Isa isa : {Isa::kAuto, Isa::kAvx512Vnni, Isa::kAvxVnni, Isa::kAvx2, Isa::kGeneric}) {
    if (text == name(isa)) return isa;
  }
  return invalid("unknown instruction set \"", text, "\"; expected auto, avx512-vnni, avx-vnni, avx2 or generic");
}

Isa hostIsa() {
  for (Isa isa : kBestFirst) {
    if (hostSupports(isa)) return isa;
  }
  return Isa::kGeneric;
}

Result<Target> Target::forHost(Isa isa) {
  if (isa == Isa::kAuto) isa = hostIsa();
  if (!hostSupports(isa)) {
    return makeError(ErrorCode::kUnsupported, ErrorScope::kRank, "this machine has no ", name(isa), "; its best is ", name(hostIsa()));
  }
  return describe(isa);
}

}  // namespace exo::codegen
