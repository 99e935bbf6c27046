// The structure of a program: adjacent calls of one region name are a region, in it adjacent calls of one number a chain. All
// threads meet behind a region. Each thread computes the same units of every call of a chain, so inside a chain nothing waits.
// A first chain by rows before chains by columns is their lead (program.proto): they read its rows, block by block.
#pragma once

#include <vector>

#include "codegen/program.pb.h"
#include "executor/runtime/operands.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// Calls [first, last).
struct Chain {
  int first = 0, last = 0;
  int streaming = 0;           // behind a lead: so many of the first calls are matmuls of its rows, which can run block by block
};

struct Region {
  std::vector<Chain> chains;   // at least one
  bool led = false;            // chains[0] leads the others

  int first() const { return chains.front().first; }
  int last() const { return chains.back().last; }
};

/// Kernels and operands are already checked. Errors: kInvalidInput when chains are not numbered 0, 1, ..., when calls of one
/// chain do not have the same units, or when a collective does not stand alone.
Result<std::vector<Region>> regionsOf(const program::Program& program, const ProgramFacts& facts);

}  // namespace exo::runtime
