// Declarations of every op's definition; each is defined in the file named after its mnemonic.
#pragma once

#include "ir/op.h"

namespace exo {
#define EXO_OP(name, def) extern const OpDef def;
#include "ir/ops/ops.def"
#undef EXO_OP
}  // namespace exo
