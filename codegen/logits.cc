#include "codegen/logits.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "ir/base/counter_random.h"

namespace exo::codegen {
namespace {

constexpr int64_t kBlock = 16;   // ids of one Gumbel variable: one exponential a token, two logarithms a block
constexpr float kNone = -std::numeric_limits<float>::infinity();

/// exp(x) for x <= 0, 0 below -87, in a form that compilers turn into vector code. Cephes' polynomial: relative error 2e-7.
inline float expOf(float x) {
  constexpr float kRound = 12582912.0f;   // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < -87.0f ? -87.0f : x;
  const float whole = clamped * 1.44269504f + kRound;
  const float n = whole - kRound;
  const float z = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) p = p * z + c;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return x < -87.0f ? 0.0f : (p * z * z + z + 1.0f) * power;
}

float largestOf(const float* logits, int64_t count) {
  float largest = kNone;
  for (int64_t i = 0; i < count; ++i) largest = logits[i] > largest ? logits[i] : largest;   // passes over NaN
  return largest;
}

/// exp((logit - largest) * inverse_temperature) of each; 0 for NaN, which no comparison lets be chosen.
float masses(const float* logits, int64_t count, float largest, float inverse_temperature, float* out) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float x = (logits[i] - largest) * inverse_temperature;
    out[i] = x <= 0 ? expOf(x) : 0.0f;
  }
  for (int64_t i = 0; i < count; ++i) sum += out[i];
  return sum;
}

double gumbel(const RowControl& control, uint64_t block) {
  return -std::log(-std::log(uniform(control.seed, control.position, 1 + 2 * block) + 0x1.0p-54));
}

/// The first whose running sum passes `share` of the whole.
int64_t pick(const float* mass, int64_t count, double share) {
  double whole = 0, sum = 0;
  for (int64_t i = 0; i < count; ++i) whole += static_cast<double>(mass[i]);
  int64_t last = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (mass[i] == 0) continue;
    last = i;
    sum += static_cast<double>(mass[i]);
    if (sum > share * whole) break;
  }
  return last;
}

}  // namespace

void RowStatistics::merge(const RowStatistics& other) {
  if (other.draw_score > draw_score) {
    draw_score = other.draw_score;
    drawn = other.drawn;
  }
  if (other.sum == 0) return;
  const float both = std::max(largest, other.largest);
  const auto moved = [both](const RowStatistics& s) {
    if (s.sum == 0) return std::pair(0.0, 0.0);
    const double shift = static_cast<double>(s.largest) - static_cast<double>(both), factor = std::exp(shift);
    return std::pair(s.sum * factor, (s.weighted + shift * s.sum) * factor);
  };
  const auto [a_sum, a_weighted] = moved(*this);
  const auto [b_sum, b_weighted] = moved(other);
  largest = both;
  sum = a_sum + b_sum;
  weighted = a_weighted + b_weighted;
}

void editLogits(std::span<float> logits, int64_t first_id, const RowControl& control, const RowControls& controls, int64_t mask_words) {
  const auto size = static_cast<int64_t>(logits.size());
  for (const LogitEdit& edit : controls.edits.subspan(control.edits_begin, control.edits_end - control.edits_begin)) {
    const int64_t local = edit.id - first_id;
    if (local < 0 || local >= size) continue;
    float& logit = logits[static_cast<size_t>(local)];
    logit = (logit > 0 ? logit / edit.divisor : logit * edit.divisor) + edit.addend;
  }
  if (control.mask == RowControl::kNoMask) return;
  const auto mask = controls.masks.subspan(static_cast<size_t>(control.mask * mask_words), static_cast<size_t>(mask_words));
  for (int64_t i = 0; i < size; ++i) {
    const int64_t id = first_id + i;
    const bool allowed = (mask[static_cast<size_t>(id / 32)] >> (id % 32) & 1) != 0;
    logits[static_cast<size_t>(i)] = allowed ? logits[static_cast<size_t>(i)] : kNone;
  }
}

RowStatistics statisticsOf(std::span<const float> logits, float inverse_temperature) {
  const float largest = largestOf(logits.data(), static_cast<int64_t>(logits.size()));
  if (largest == kNone) return {};
  RowStatistics statistics{.largest = largest * inverse_temperature};
  float mass[kBlock];
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const int64_t count = std::min<int64_t>(kBlock, static_cast<int64_t>(logits.size() - begin));
    statistics.sum += static_cast<double>(masses(logits.data() + begin, count, largest, inverse_temperature, mass));
    float weighted = 0;
    for (int64_t i = 0; i < count; ++i) weighted += mass[i] > 0 ? mass[i] * ((logits[begin + static_cast<size_t>(i)] - largest) * inverse_temperature) : 0.0f;
    statistics.weighted += static_cast<double>(weighted);
  }
  return statistics;
}

Draw drawToken(std::span<const float> logits, int64_t first_id, const RowControl& control) {
  Draw draw;
  float mass[kBlock];
  const int64_t end = first_id + static_cast<int64_t>(logits.size());
  for (int64_t begin = first_id; begin < end;) {
    const int64_t block = begin / kBlock, count = std::min(end, (block + 1) * kBlock) - begin;
    const float* const of_block = logits.data() + (begin - first_id);
    const float largest = largestOf(of_block, count);
    if (largest != kNone) {
      const float sum = masses(of_block, count, largest, control.inverse_temperature, mass);
      const double weight = std::log(static_cast<double>(sum)) + static_cast<double>(largest) * static_cast<double>(control.inverse_temperature);
      const float score = static_cast<float>(weight + gumbel(control, static_cast<uint64_t>(block)));
      if (score > draw.score)
        draw = {score, static_cast<int32_t>(begin + pick(mass, count, uniform(control.seed, control.position, 2 + 2 * static_cast<uint64_t>(block))))};
    }
    begin += count;
  }
  return draw;
}

}  // namespace exo::codegen
