// The last step of compilation: a local graph with memory planned → the program its node runs.
#pragma once

#include "codegen/program.pb.h"
#include "ir/graph.h"

namespace exo::codegen {

struct ProgramLimits {
  int64_t max_tokens = 0, max_rows = 0;   // of the largest step
  int64_t max_context = 0;                // positions per sequence
  int64_t num_pages = 0;                  // of each cache
  int64_t vocab_size = 0;
  int64_t arena_bytes = 0;                // as plan_memory laid it out
};

/// Needs: a local graph after plan_memory. Calls whose result is empty on this rank are left out.
Result<program::Program> emitProgram(const Graph& graph, const ProgramLimits& limits);

program::Encoding toProgram(Encoding encoding);

}  // namespace exo::codegen
