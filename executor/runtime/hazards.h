// Reads and writes of a program in order. Two properties, both of the arena's bytes:
//  - what is read was written: no call reads a buffer that nothing has written, or that a later value has overwritten, and
//    integers used as indices come from the op that makes such indices;
//  - what is shared is separated: between two barriers, calls that touch the same bytes (one of them writing) are divided
//    over threads in the same way and row by row, so that each thread meets only its own bytes.
#pragma once

#include "codegen/program.pb.h"
#include "executor/runtime/operands.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// The program's indices and shapes are already checked.
Status checkHazards(const program::Program& program, const ProgramFacts& facts);

/// Is there a barrier after call `index`? Always around collectives, which one thread runs, and at the end.
bool barrierAfter(const program::Program& program, int index);

}  // namespace exo::runtime
