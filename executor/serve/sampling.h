// How the next token is chosen. Every parameter acts on the distribution over the whole vocabulary, of which each rank has a
// part; sampler.h says how that is done without gathering it, and where it ends.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ir/base/result.h"

namespace exo::serve {

/// In the order in which they act: logits are penalised and biased, masked by the constraint, divided by the temperature; then
/// top_k, typical_p, top_p and min_p each leave some tokens, at least one, of those the one before left, and one is drawn.
struct SamplingParameters {
  float temperature = 0;          // 0: greedy, the likeliest token; up to 100
  int64_t top_k = 0;              // this many likeliest tokens; 0: all
  float top_p = 1;                // (0, 1]: the fewest likeliest tokens that together have at least this probability
  float min_p = 0;                // [0, 1): tokens of at least this times the likeliest one's probability
  float typical_p = 1;            // (0, 1]: the fewest tokens nearest to the expected information that together have it
  float repetition_penalty = 1;   // (0, 100]: of tokens in prompt or answer, positive logits are divided by it, others multiplied
  float presence_penalty = 0;     // [-100, 100]: subtracted from logits of tokens in the answer
  float frequency_penalty = 0;    // [-100, 100]: subtracted as often as the token is in the answer
  std::vector<std::pair<int32_t, float>> logit_bias;   // added; finite, or -inf: never. At most kMaxLogitBias, ids unique
  std::optional<uint64_t> seed;   // the same seed gives the same answer, whatever else runs; none: the engine takes one

  bool greedy() const { return temperature == 0 || top_k == 1; }
};

constexpr size_t kMaxLogitBias = 4096;

/// kInvalidInput naming the parameter, its range and what came.
Status validate(const SamplingParameters& parameters, int64_t vocab_size);

}  // namespace exo::serve
