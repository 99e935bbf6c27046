#include "executor/collectives/calibration.h"

#include <algorithm>
#include <array>
#include <memory>

#include "executor/collectives/collectives.h"

namespace exo::collectives {
namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

constexpr size_t kNumAlgorithms = std::size(kAlgorithms);
constexpr uint64_t kMostRounds = 25;

class Calibrator {
 public:
  Calibrator(std::array<std::unique_ptr<Communicator>, kNumAlgorithms> by_algorithm, const CalibrationOptions& options)
      : by_algorithm_(std::move(by_algorithm)), options_(options), deadline_(Clock::now() + options.budget) {}

  Result<Calibration> run() {
    Calibration out;
    double last_us = 0;  // of one round of every algorithm
    for (size_t i = 0; i < options_.sizes.size(); ++i) {
      // Two rounds of each, one to warm up, in proportion to the bytes.
      const double next_us = i == 0 ? 0 : 2 * last_us * static_cast<double>(options_.sizes[i]) / static_cast<double>(options_.sizes[i - 1]);
      EXO_ASSIGN(const uint64_t fits, decided(next_us < left().count() ? 1 : 0));
      if (fits == 0) break;
      EXO_ASSIGN(const Timing timing, timeSize(options_.sizes[i], (options_.sizes.size() - i) * kNumAlgorithms));
      last_us = timing.us[0] + timing.us[1] + timing.us[2];
      if (leads()) out.timings.push_back(timing);
    }
    out.thresholds = fitThresholds(out.timings);
    EXO_ASSIGN(out.thresholds.one_shot_bytes, decided(out.thresholds.one_shot_bytes));
    EXO_ASSIGN(out.thresholds.two_shot_bytes, decided(out.thresholds.two_shot_bytes));
    return out;
  }

 private:
  bool leads() const { return by_algorithm_[0]->index() == 0; }
  Microseconds left() const { return deadline_ - Clock::now(); }

  /// The first rank's `mine`, on all.
  Result<uint64_t> decided(uint64_t mine) {
    EXO_TRY(by_algorithm_[0]->broadcast(by_algorithm_[0]->group()[0], std::as_writable_bytes(std::span(&mine, 1)), "calibration"));
    return mine;
  }

  Result<Timing> timeSize(size_t bytes, size_t measurements_left) {
    Timing timing{.bytes = bytes};
    values_.assign(std::max<size_t>(1, bytes / sizeof(float)), 0.0f);
    for (size_t a = 0; a < kNumAlgorithms; ++a) {
      EXO_ASSIGN(const double first_us, timeRound(*by_algorithm_[a]));
      const double share = left().count() / static_cast<double>(measurements_left - a);
      EXO_ASSIGN(const uint64_t rounds, decided(static_cast<uint64_t>(std::clamp(share / first_us, 1.0, double{kMostRounds}))));
      std::vector<double> us;
      for (uint64_t i = 0; i < rounds; ++i) {
        EXO_ASSIGN(const double round_us, timeRound(*by_algorithm_[a]));
        us.push_back(round_us);
      }
      std::nth_element(us.begin(), us.begin() + us.size() / 2, us.end());
      timing.us[a] = us[us.size() / 2];
    }
    return timing;
  }

  Result<double> timeRound(Communicator& group) {
    EXO_TRY(group.barrier("calibration"));
    const Clock::time_point begin = Clock::now();
    EXO_TRY(group.allReduce(values_, values_, "calibration"));
    return std::max(0.01, Microseconds(Clock::now() - begin).count());
  }

  std::array<std::unique_ptr<Communicator>, kNumAlgorithms> by_algorithm_;
  const CalibrationOptions& options_;
  Clock::time_point deadline_;
  std::vector<float> values_;
};

}  // namespace

Result<Calibration> calibrate(transport::Mesh& mesh, const std::vector<int>& group, const CalibrationOptions& options) {
  if (!std::is_sorted(options.sizes.begin(), options.sizes.end())) return invalid("sizes of a calibration must be ascending");
  std::array<std::unique_ptr<Communicator>, kNumAlgorithms> by_algorithm;
  for (const Algorithm algorithm : kAlgorithms) {
    Options forced{.timeout = options.timeout};
    forced.algorithms.others = Thresholds::always(algorithm);
    EXO_ASSIGN(by_algorithm[static_cast<size_t>(algorithm)], Communicator::create(mesh, group, forced));
  }
  if (group.size() <= 2) return Calibration{};
  return Calibrator(std::move(by_algorithm), options).run();
}

}  // namespace exo::collectives
