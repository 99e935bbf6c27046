// Kernels that are plain C++: small, branchy or rare. Generated code calls them with the kernel's numbers (emit_host.cc).
#pragma once

#include <span>

#include "codegen/kernel.h"

namespace exo::codegen {

/// What a host kernel needs of its program::Kernel; laid out in the generated object as it is.
struct HostNumbers {
  int64_t n, k, top_k, experts, index_offset;
  int64_t weight;     // program::Encoding
  int64_t normalize;  // 0 or 1
  int64_t scoring;    // program::Kernel::Scoring
  int64_t bias;       // 0 or 1
  int64_t groups, top_groups;
  double factor;
};
HostNumbers hostNumbers(const program::Kernel& kernel);

using HostFn = void (*)(const KernelArgs* args, int64_t begin, int64_t end, void* scratch, const HostNumbers* numbers);

struct HostKernel {
  program::Kernel::Op op;
  const char* symbol;  // under which generated code finds it
  HostFn function;
};
std::span<const HostKernel> hostKernels();

}  // namespace exo::codegen
