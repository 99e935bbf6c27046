#include "executor/collectives/merge.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace exo::collectives {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Candidate {
  float value = kNone;
  int32_t id = -1;
};

bool better(const Candidate& a, const Candidate& b) {
  if ((a.id < 0) != (b.id < 0)) return b.id < 0;
  const bool a_nan = std::isnan(a.value), b_nan = std::isnan(b.value);
  if (a_nan != b_nan) return b_nan;
  if (!a_nan && a.value != b.value) return a.value > b.value;
  return a.id < b.id;
}

}  // namespace

void mergeCandidates(std::span<const std::byte> lists, int num_lists, int64_t rows, int64_t k, std::span<float> out_values,
                     std::span<int32_t> out_ids) {
  const size_t count = static_cast<size_t>(rows * k);
  const size_t block = count * (sizeof(float) + sizeof(int32_t));
  const auto at = [&](int list, size_t index) {
    Candidate out;
    std::memcpy(&out.value, lists.data() + list * block + index * sizeof(float), sizeof(float));
    std::memcpy(&out.id, lists.data() + list * block + count * sizeof(float) + index * sizeof(int32_t), sizeof(int32_t));
    return out;
  };
  std::vector<int64_t> heads(num_lists);
  for (int64_t row = 0; row < rows; ++row) {
    heads.assign(num_lists, 0);
    for (int64_t i = 0; i < k; ++i) {
      Candidate best;
      int from = -1;
      for (int list = 0; list < num_lists; ++list) {
        if (heads[list] == k) continue;
        const Candidate candidate = at(list, static_cast<size_t>(row * k + heads[list]));
        if (candidate.id >= 0 && (from < 0 || better(candidate, best))) {
          best = candidate;
          from = list;
        }
      }
      if (from >= 0) ++heads[from];
      out_values[row * k + i] = best.value;
      out_ids[row * k + i] = best.id;
    }
  }
}

float expOfNegative(float x) {
  if (std::isnan(x)) return x;
  if (x < -104.0f) return 0.0f;  // below half of the least subnormal
  // e^x = 2^n e^r with |r| <= ln(2) / 2, where 9 terms of the series are right to 1e-10.
  constexpr double kLn2 = 0.6931471805599453;
  const double n = std::floor(x / kLn2 + 0.5), r = x - n * kLn2;
  double sum = 1.0;
  for (int i = 9; i >= 1; --i) sum = 1.0 + r * sum / i;
  return static_cast<float>(std::ldexp(sum, static_cast<int>(n)));
}

void mergeLogSumExp(std::span<const std::byte> partials, int num_ranks, int64_t rows, int64_t d, std::span<float> out) {
  const auto* floats = reinterpret_cast<const float*>(partials.data());
  const int64_t block = rows * (2 + d);
  for (int64_t row = 0; row < rows; ++row) {
    float most = kNone;
    bool any = false;  // also true for NaN, which then spreads
    for (int rank = 0; rank < num_ranks; ++rank) {
      any |= floats[rank * block + row] != kNone;
      most = std::max(most, floats[rank * block + row]);
    }
    float* const to = out.data() + row * d;
    std::fill_n(to, d, 0.0f);
    if (!any) continue;
    float sum = 0;
    for (int rank = 0; rank < num_ranks; ++rank) {
      const float* const from = floats + rank * block;
      const float weight = expOfNegative(from[row] - most);
      sum += weight * from[rows + row];
      for (int64_t i = 0; i < d; ++i) to[i] += weight * from[2 * rows + row * d + i];
    }
    for (int64_t i = 0; i < d; ++i) to[i] /= sum;
  }
}

}  // namespace exo::collectives
