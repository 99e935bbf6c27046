// What a call needs of its operands, as data: the executor's reading of codegen/kernels.md. The checker compares it with the
// program's buffers, the hazard analysis uses which bytes a work unit touches.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "codegen/program.pb.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// A number of rows: `factor` times a quantity of the step (EXPERT_ROWS is TOKENS times experts per token).
struct RowCount {
  program::Extent base = program::ONE;   // ONE, TOKENS or ROWS
  int64_t factor = 1;
  friend bool operator==(const RowCount&, const RowCount&) = default;
};
std::string toString(const RowCount& rows);

/// What of an operand one work unit of the call touches: where the unit is a row, that row; where it is some columns, the
/// same columns; or anything.
enum class Access { kSame, kAny };

/// Where the numbers in an integer operand must come from: they are used as indices without further checks.
enum class Origin { kAny, kRowsInput, kRouterIds, kDispatchOrder, kDispatchSegments };

struct OperandNeed {
  enum class Kind { kBuffer, kPanels, kVector, kCache };
  const char* name;
  Kind kind;
  program::Encoding encoding = program::F32;
  RowCount rows;                // kBuffer
  int64_t columns = 0;          // kBuffer, kPanels (K), kVector
  int64_t weight_rows = 0;      // kPanels: N
  int64_t stack = 1;            // kPanels, kVector: experts
  Access access = Access::kSame;
  Origin origin = Origin::kAny;
  int64_t experts = 0;          // of the maker, where `origin` is a router or a dispatch
};

/// What a work unit is: a row, `grain` columns of all rows, or the op's own.
enum class Unit { kRow, kColumns, kOwn };

struct CallNeeds {
  std::vector<OperandNeed> in, out;
  Unit unit = Unit::kOwn;
};

/// What the program says once for all calls.
struct ProgramFacts {
  int64_t experts_per_token = 0;   // 0: no mixture of experts
};

/// Error if kernels of one program disagree on the experts per token.
Result<ProgramFacts> factsOf(const program::Program& program);

/// EXPERT_ROWS needs experts per token; kInvalidInput otherwise, or if `extent` is no enumerator.
Result<RowCount> rowCount(program::Extent extent, const ProgramFacts& facts);

/// Checks the kernel's own numbers: every one that sizes something is positive and bounded.
Status checkKernel(const program::Kernel& kernel);

/// The operands of a call of `kernel` with `rows` rows. The kernel is checked.
Result<CallNeeds> kernelNeeds(const program::Kernel& kernel, RowCount rows);

}  // namespace exo::runtime
