#include "executor/serve/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace exo::serve {
namespace {

/// Written so that NaN is out of every range.
struct Range {
  const char* name;
  float value, low, high;
  bool low_open, high_open;

  bool holds() const { return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high); }
};

Status checkBias(const std::vector<std::pair<int32_t, float>>& biases, int64_t vocab_size) {
  if (biases.size() > kMaxLogitBias) return invalid("logit_bias may name at most ", kMaxLogitBias, " tokens, got ", biases.size());
  std::vector<int32_t> ids;
  for (const auto& [id, bias] : biases) {
    if (id < 0 || id >= vocab_size) return invalid("logit_bias: token id ", id, " is outside the vocabulary of ", vocab_size);
    if (!std::isfinite(bias) && bias != -std::numeric_limits<float>::infinity()) return invalid("logit_bias of token ", id, " must be finite, got ", bias);
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) return invalid("logit_bias names token ", *twice, " twice");
  return {};
}

}  // namespace

Status validate(const SamplingParameters& p, int64_t vocab_size) {
  for (const Range& range : {Range{"temperature", p.temperature, 0, 100, false, false}, Range{"top_p", p.top_p, 0, 1, true, false},
                             Range{"min_p", p.min_p, 0, 1, false, true}, Range{"typical_p", p.typical_p, 0, 1, true, false},
                             Range{"repetition_penalty", p.repetition_penalty, 0, 100, true, false},
                             Range{"presence_penalty", p.presence_penalty, -100, 100, false, false},
                             Range{"frequency_penalty", p.frequency_penalty, -100, 100, false, false}})
    if (!range.holds())
      return invalid(range.name, " must be in ", range.low_open ? "(" : "[", range.low, ", ", range.high, range.high_open ? ")" : "]", ", got ", range.value);
  if (p.top_k < 0) return invalid("top_k must not be negative, got ", p.top_k);
  return checkBias(p.logit_bias, vocab_size);
}

}  // namespace exo::serve
