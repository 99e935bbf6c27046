// The step descriptor: what rank 0 tells the others before every step. Little endian, as every supported host:
// [StepMessageHeader][controls, as many as controlled_rows][tokens T][positions T][sequence T][sequence_begin S+1]
// [page_table S x stride][rows R][edits][masks], 4 bytes each but for controls (40) and edits (12).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "executor/runtime/step.h"
#include "ir/base/result.h"

namespace exo::runtime {

enum class StepKind : uint32_t { kStep = 1, kStop = 2 };

/// Who needs the whole logits after the step.
enum class GatherLogits : uint32_t { kNo = 0, kToRankZero = 1 };

struct StepMessageHeader {
  uint32_t magic = 0;
  uint32_t version = 0;
  StepKind kind = StepKind::kStep;
  GatherLogits gather = GatherLogits::kNo;
  uint64_t number = 0;            // of the step, from 0: both sides count
  uint32_t tokens = 0, sequences = 0, rows = 0, page_table_stride = 0;
  uint32_t controlled_rows = 0, edits = 0, mask_words = 0, reserved = 0;
};

struct StepMessage {
  StepKind kind = StepKind::kStep;
  GatherLogits gather = GatherLogits::kNo;
  uint64_t number = 0;
  StepInput input;                // kStep; views into the bytes it was decoded from
};

/// Into `bytes`, resized.
void encode(const StepMessage& message, std::vector<std::byte>& bytes);

/// Checks every size and, for a step, the whole input against `limits`. kMismatch for bytes that are no step message of
/// this version. `bytes` is 8-byte aligned and outlives the result.
Result<StepMessage> decode(std::span<const std::byte> bytes, const StepLimits& limits);

/// The longest message of these limits.
uint64_t maxStepMessageBytes(const StepLimits& limits);

}  // namespace exo::runtime
