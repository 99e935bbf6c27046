#include "executor/serve/chunk_policy.h"

#include <algorithm>
#include <cmath>

namespace exo::serve {
namespace {

// New knowledge counts a quarter: a step that the machine disturbed is forgotten after a few.
void blend(double& known, double seen) { known = known == 0 ? seen : 0.75 * known + 0.25 * seen; }

// Before anything is known: a row of a matrix product costs a small part of reading the weights.
constexpr int64_t kFirstTokens = 16;

}  // namespace

int64_t ChunkPolicy::promptTokens() const {
  if (decode_seconds_ == 0 || token_seconds_ == 0) return std::min(kFirstTokens, max_tokens_);
  const double tokens = (kSlowdown - 1) * decode_seconds_ / token_seconds_;
  return std::clamp<int64_t>(static_cast<int64_t>(std::min(tokens, 1e9)), 1, max_tokens_);
}

void ChunkPolicy::observe(int64_t decoding, int64_t prompt_tokens, double seconds) {
  if (prompt_tokens == 0) {
    blend(decode_seconds_, seconds);
  } else if (decoding == 0) {
    // Includes what a step costs at least: an upper bound, good enough until a mixed step is seen.
    if (token_seconds_ == 0) token_seconds_ = seconds / static_cast<double>(prompt_tokens);
  } else if (decode_seconds_ > 0) {
    blend(token_seconds_, std::max(seconds - decode_seconds_, 0.01 * seconds) / static_cast<double>(prompt_tokens));
  }
}

}  // namespace exo::serve
