// Runs kernels of another architecture under qemu's user emulation. The tests' buffers lie in memory that the emulated process
// maps at the same address, so KernelArgs mean the same there. Needs qemu-user-static and an AArch64 cross compiler at
// configuration; without them `available()` says what is missing. One thread.
#pragma once

#include <cstddef>
#include <string>

#include "codegen/kernel.h"

namespace exo::codegen::emulator {

/// Why nothing can be emulated; empty if it can.
std::string unavailable();

bool emulates(Isa isa);

/// Computes units [begin, end) of an emitted kernel. `args`, `step` and its arrays may lie anywhere, what args points to and
/// `scratch` in shared memory.
void run(const program::Kernel& kernel, Isa isa, const KernelArgs& args, int64_t begin, int64_t end, void* scratch);

/// Shared memory, 64-byte aligned; ordinary memory where nothing can be emulated. All of it is reused once all is released.
std::byte* allocate(size_t bytes);
void release(std::byte* data);

}  // namespace exo::codegen::emulator
