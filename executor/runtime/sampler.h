// The next token from the candidates that the ranks agreed on. Only the k best of the whole vocabulary are candidates
// (Kernel.top_k of the program): top_k above k means k, and top_p cuts within the distribution of those k, renormalised.
// Random numbers are a function of (seed, position) alone: the same request gives the same tokens whatever else runs, and
// on any number of nodes.
#pragma once

#include <cstdint>
#include <span>

#include "ir/base/result.h"

namespace exo::runtime {

struct SamplingParameters {
  float temperature = 0;   // 0: greedy
  int64_t top_k = 0;       // 0: all candidates
  float top_p = 1;         // the fewest most likely candidates that together have at least this probability
  uint64_t seed = 0;

  bool greedy() const { return temperature == 0 || top_k == 1; }
};

/// Error kInvalidInput unless temperature is in [0, 100], top_k >= 0 and top_p in (0, 1].
Status validate(const SamplingParameters& parameters);

/// values: candidate logits; ids: their tokens; entries with id -1 are padding. Any order; ties count as smaller id first.
/// `position` is that of the token being chosen. Error kMismatch if no candidate is left, a logit is not a number, or an id
/// is outside [0, vocab_size): the candidates came over the network.
Result<int32_t> sampleToken(const SamplingParameters& parameters, std::span<const float> values, std::span<const int32_t> ids,
                       int64_t vocab_size, uint64_t position);

/// Uniform in [0, 1) with 53 bits: Philox-4x32-10 (Salmon et al. 2011) of counter `position` and key `seed`.
double uniform(uint64_t seed, uint64_t position);

}  // namespace exo::runtime
