// One step's input and output: a ragged batch. T tokens of S sequences lie one after the other; a sequence that is
// prefilled has many, one that is decoded has one. R of the tokens have their logits computed.
#pragma once

#include <cstdint>
#include <span>

#include "codegen/logits.h"
#include "codegen/program.pb.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// Views of caller-owned arrays, which outlive the step.
struct StepInput {
  std::span<const int32_t> tokens;           // [T]
  std::span<const int32_t> positions;        // [T] in its sequence; ascending by one within a sequence
  std::span<const int32_t> sequence;         // [T] index of its sequence in this step, ascending
  std::span<const int32_t> sequence_begin;   // [S + 1] first token of each sequence, then T
  std::span<const int32_t> page_table;       // [S, page_table_stride] cache pages in order; unused entries may be anything
  int64_t page_table_stride = 0;
  std::span<const int32_t> rows;             // [R] indices of tokens whose logits are wanted; may be empty, and name a token more than once
  codegen::RowControls controls;             // none, or one per row

  int64_t numTokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t numSequences() const { return static_cast<int64_t>(sequence_begin.size()) - 1; }
  int64_t numRows() const { return static_cast<int64_t>(rows.size()); }
  /// Whether any row wants statistics.
  bool wantsStatistics() const;
};

/// Views into the engine's memory, valid until its next step. Empty where this rank has no such output.
struct StepOutput {
  int64_t rows = 0;                          // R
  int64_t candidates = 0;                    // k
  std::span<const float> values;             // [R, k] logits of the best tokens, best first
  std::span<const int32_t> ids;              // [R, k] their ids; -1 is padding
  int64_t logits_columns = 0;                // this rank's part of the vocabulary
  std::span<const float> logits;             // [R, logits_columns]; rows with edits or a mask have been changed by them
  std::span<const codegen::RowStatistics> statistics;   // [R] of this rank's part (Engine) or all (Driver); empty unless wanted
};

/// What bounds a step; a part of the program.
struct StepLimits {
  int64_t max_tokens = 0, max_rows = 0, max_context = 0, page_tokens = 0, num_pages = 0, vocab_size = 0;
  int64_t candidates = 0;                    // per row of logits; 0: this rank gets none
};
StepLimits stepLimits(const program::Program& program);

/// Checks everything kernels rely on. kInvalidInput naming the token, position or page that is out of range.
Status validate(const StepInput& input, const StepLimits& limits);

}  // namespace exo::runtime
