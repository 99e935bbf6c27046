// What a plan's programs do in one step, counted from their calls: the numerators beside the machine's roofs.
#pragma once

#include <cstdint>

#include "codegen/plan.pb.h"

namespace exo::bench {

struct StepWork {
  double weight_bytes = 0;  // packed weights read by matmuls: each once, of a stack of experts as many as the tokens can use
  double int8_ops = 0;      // multiplications and additions of matmuls on quantised weights
  double f32_ops = 0;       // of those on f32, bf16 and f16 weights
};

/// All ranks together, for a step of `tokens` tokens of which `rows` get logits. The embedding counts only where the head
/// reads it too; attention, norms and the KV cache do not count.
StepWork workOfStep(const plan::Plan& plan, int64_t tokens, int64_t rows);

}  // namespace exo::bench
