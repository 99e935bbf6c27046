// Reads and writes of a program in order. Two properties, both of the arena's bytes:
//  - what is read was written: no call reads a buffer that nothing has written, or that a later value has overwritten, and
//    integers used as indices come from the op that makes such indices;
//  - what is shared is separated: inside a region, calls that touch the same bytes (one of them writing) are of one chain
//    and touch the same rows or columns, so that each thread meets only its own bytes.
#pragma once

#include "codegen/program.pb.h"
#include "executor/runtime/operands.h"
#include "executor/runtime/regions.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// The program's indices and shapes are already checked; `regions` are its own.
Status checkHazards(const program::Program& program, const ProgramFacts& facts, const std::vector<Region>& regions);

}  // namespace exo::runtime
