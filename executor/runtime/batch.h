// Builds the ragged arrays of a step from sequences, reusing its memory. A step's StepInput views the builder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "executor/runtime/step.h"

namespace exo::runtime {

/// Which tokens of a sequence get logits.
enum class WantRows { kNone, kLast, kAll };

class Batch {
 public:
  void clear();
  /// Appends one sequence: its next tokens, the position of the first, and its cache pages so far. `tokens` is not empty.
  /// `times`: rows of each token that gets logits, one after the other, for controls that differ.
  void add(std::span<const int32_t> tokens, int64_t first_position, std::span<const int32_t> pages, WantRows rows, int64_t times = 1);
  /// Valid until the next change. Without controls.
  StepInput input();

  int64_t numTokens() const { return static_cast<int64_t>(tokens_.size()); }

 private:
  std::vector<int32_t> tokens_, positions_, sequence_, begin_{0}, rows_;
  std::vector<int32_t> pages_;                 // of all sequences, one after the other
  std::vector<size_t> pages_begin_{0};
  std::vector<int32_t> page_table_;
};

}  // namespace exo::runtime
