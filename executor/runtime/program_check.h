// Is a program safe to run? Everything the engine would otherwise trust: indices, sizes, alignment, shapes of operands,
// numbers of kernels, members of collectives; then (hazards.h) that every call reads what was written, and that no two
// threads touch the same bytes without a barrier between. After this a step cannot leave its memory.
#pragma once

#include "codegen/program.pb.h"
#include "executor/runtime/operands.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// Bytes of a row of `columns` numbers, for a buffer. 0 for the encodings that only weights have.
int64_t rowBytes(program::Encoding encoding, int64_t columns);

/// The most rows this many can be.
int64_t maxRows(const program::Program& program, const RowCount& rows);

/// Bytes of a weight in memory, all slices; a multiple of 64. The weight is checked.
uint64_t weightBytes(const program::Weight& weight);

/// The operands of a call, of kernels and of collectives.
Result<CallNeeds> callNeeds(const program::Program& program, const program::Call& call, const ProgramFacts& facts);

/// kInvalidInput naming the call, buffer, weight or kernel and what is wrong with it.
Status checkProgram(const program::Program& program);

}  // namespace exo::runtime
