// Checks and sizes that follow from a kernel spec alone. Internal to codegen.
#pragma once

#include "codegen/kernel.h"

namespace exo::codegen {

/// Error kInvalidInput naming the op, the field, what was expected and what it is.
Status checkKernel(const program::Kernel& kernel);

/// Scratch that one thread needs.
int64_t scratchBytes(const program::Kernel& kernel);

}  // namespace exo::codegen
