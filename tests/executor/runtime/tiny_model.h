// The model of tests/data/programs (make_programs.py), independent of the executor: what its weights hold, and its logits
// in double precision.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/program.pb.h"
#include "executor/runtime/step.h"
#include "executor/runtime/weights.h"

namespace exo::runtime::testing {

constexpr int64_t kVocabulary = 100;

/// Element of a checkpoint tensor of [rows, columns]; a vector has one row.
float weightAt(const std::string& tensor, int64_t row, int64_t column, int64_t columns);

/// Reads slices of those tensors.
Status readWeight(const program::TensorSlice& slice, int64_t row, std::span<float> out);

enum class Ffn { kDense, kExpertsInLayer1 };

/// Logits [tokens.size()][kVocabulary] of one sequence from position 0 on.
std::vector<std::vector<double>> referenceLogits(const std::vector<int32_t>& tokens, Ffn ffn);

/// tests/data/programs/<name>.textproto. Fails the test if it cannot be read.
program::Program loadProgram(const std::string& name);

/// Owns the arrays of a StepInput.
class Batch {
 public:
  explicit Batch(int64_t page_table_stride) : stride_(page_table_stride) {}
  /// Tokens of one sequence, the first at `position`; all of them get a row when `rows` says so, else none or the last.
  enum class Rows { kNone, kLast, kAll };
  Batch& add(std::vector<int32_t> tokens, int32_t position, std::vector<int32_t> pages, Rows rows);
  StepInput input() const;

  std::vector<int32_t> tokens_, positions_, sequence_, begin_{0}, pages_, rows_;
  int64_t stride_;
};

}  // namespace exo::runtime::testing
