#include "executor/collectives/merge.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace exo::collectives {
namespace {

struct Candidate {
  float value = -std::numeric_limits<float>::infinity();
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

}  // namespace exo::collectives
