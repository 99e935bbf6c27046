#include "executor/runtime/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace exo::runtime {
namespace {

struct Candidate {
  float value;
  int32_t id;
};

/// Candidates, best first.
Result<std::vector<Candidate>> sorted(std::span<const float> values, std::span<const int32_t> ids, int64_t vocab_size) {
  if (values.size() != ids.size())
    return makeError(ErrorCode::kMismatch, "sampling: ", values.size(), " values but ", ids.size(), " ids");
  std::vector<Candidate> candidates;
  candidates.reserve(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (ids[i] == -1) continue;
    if (ids[i] < 0 || ids[i] >= vocab_size)
      return makeError(ErrorCode::kMismatch, "sampling: candidate token ", ids[i], " is outside the vocabulary of ", vocab_size);
    if (std::isnan(values[i]) || values[i] == std::numeric_limits<float>::infinity())
      return makeError(ErrorCode::kMismatch, "sampling: the logit of token ", ids[i], " is ", values[i],
                       "; the computation overflowed or the weights are damaged");
    candidates.push_back({values[i], ids[i]});
  }
  if (candidates.empty()) return makeError(ErrorCode::kMismatch, "sampling: no candidate token");
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.value != b.value ? a.value > b.value : a.id < b.id;
  });
  return candidates;
}

}  // namespace

Status validate(const SamplingParameters& parameters) {
  if (!(parameters.temperature >= 0 && parameters.temperature <= 100))
    return invalid("temperature must be in [0, 100], got ", parameters.temperature);
  if (parameters.top_k < 0) return invalid("top_k must not be negative, got ", parameters.top_k);
  if (!(parameters.top_p > 0 && parameters.top_p <= 1)) return invalid("top_p must be in (0, 1], got ", parameters.top_p);
  return {};
}

double uniform(uint64_t seed, uint64_t position) {
  std::array<uint32_t, 4> counter = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0};
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  const uint64_t bits = (uint64_t{counter[0]} << 32 | counter[1]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

Result<int32_t> sampleToken(const SamplingParameters& parameters, std::span<const float> values, std::span<const int32_t> ids,
                       int64_t vocab_size, uint64_t position) {
  EXO_ASSIGN(std::vector<Candidate> candidates, sorted(values, ids, vocab_size));
  if (parameters.greedy()) return candidates.front().id;
  if (parameters.top_k > 0 && parameters.top_k < static_cast<int64_t>(candidates.size())) candidates.resize(parameters.top_k);

  // Differences before the division: a small temperature then gives 0 or 1, never inf - inf.
  std::vector<double> weights(candidates.size());
  double sum = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const double difference = static_cast<double>(candidates[i].value) - static_cast<double>(candidates[0].value);
    sum += weights[i] = i == 0 ? 1.0 : std::exp(difference / static_cast<double>(parameters.temperature));
  }
  size_t kept = 0;
  double kept_sum = 0;
  const double wanted = static_cast<double>(parameters.top_p) * sum;
  while (kept < weights.size() && (kept == 0 || kept_sum < wanted)) kept_sum += weights[kept++];

  double remaining = uniform(parameters.seed, position) * kept_sum;
  for (size_t i = 0; i < kept; ++i) {
    remaining -= weights[i];
    if (remaining < 0) return candidates[i].id;
  }
  return candidates[kept - 1].id;   // only rounding leads here
}

}  // namespace exo::runtime
