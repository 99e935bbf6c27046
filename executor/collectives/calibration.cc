#include "executor/collectives/calibration.h"

#include <algorithm>
#include <memory>

#include "executor/collectives/collectives.h"

namespace exo::collectives {
namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

constexpr uint64_t kMostRounds = 25, kRepetitions = 3;  // rounds of one repetition
constexpr double kMostBarriers = 100;

double median(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct Candidate {
  Algorithm algorithm;
  std::unique_ptr<Communicator> group;
};

class Calibrator {
 public:
  Calibrator(std::vector<Candidate> candidates, const CalibrationOptions& options)
      : candidates_(std::move(candidates)), options_(options), deadline_(Clock::now() + options.budget) {}

  Result<Calibration> run() {
    Calibration out;
    EXO_ASSIGN(const double barrier_us, timeBarrier());
    if (leads()) out.barrier_us = barrier_us;
    double last_us = 0;  // of one round of every algorithm
    for (size_t i = 0; candidates_.size() > 1 && i < options_.sizes.size(); ++i) {
      // Two rounds of each, one to warm up, in proportion to the bytes.
      const double next_us = i == 0 ? 0 : 2 * last_us * static_cast<double>(options_.sizes[i]) / static_cast<double>(options_.sizes[i - 1]);
      EXO_ASSIGN(const uint64_t fits, decided(next_us < left().count() ? 1 : 0));
      if (fits == 0) break;
      EXO_ASSIGN(const Timing timing, timeSize(options_.sizes[i], (options_.sizes.size() - i) * candidates_.size()));
      last_us = 0;
      for (const double us : timing.us) last_us += us;
      if (leads()) out.timings.push_back(timing);
    }
    EXO_ASSIGN(out.thresholds, decided(fitThresholds(out.timings)));
    return out;
  }

 private:
  Communicator& first() { return *candidates_.front().group; }
  bool leads() { return first().index() == 0; }
  Microseconds left() const { return deadline_ - Clock::now(); }

  /// The first rank's `mine`, on all.
  Result<uint64_t> decided(uint64_t mine) {
    EXO_TRY(first().broadcast(first().group()[0], std::as_writable_bytes(std::span(&mine, 1)), "calibration"));
    return mine;
  }

  Result<Thresholds> decided(const Thresholds& mine) {
    EXO_ASSIGN(const uint64_t count, decided(mine.steps.size()));
    if (count > options_.sizes.size() + 1) return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "calibration: the first rank tells of ", count, " steps");
    Thresholds out{{}};
    for (size_t i = 0; i < count; ++i) {
      const Thresholds::Step step = i < mine.steps.size() ? mine.steps[i] : Thresholds::Step{};
      EXO_ASSIGN(const uint64_t algorithm, decided(static_cast<uint64_t>(step.algorithm)));
      EXO_ASSIGN(const uint64_t up_to_bytes, decided(step.up_to_bytes));
      if (algorithm >= std::size(kAlgorithms)) return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "calibration: the first rank tells of algorithm ", algorithm);
      out.steps.push_back({kAlgorithms[algorithm], up_to_bytes});
    }
    EXO_TRY(validate(out));
    return out;
  }

  Result<double> timeBarrier() {
    const auto timed = [&]() -> Result<double> {
      EXO_TRY(first().barrier("calibration"));  // all set out together
      const Clock::time_point begin = Clock::now();
      EXO_TRY(first().barrier("calibration"));
      return std::max(0.01, Microseconds(Clock::now() - begin).count());
    };
    EXO_ASSIGN(const double first_us, timed());
    const double share = left().count() / 20;
    EXO_ASSIGN(const uint64_t rounds, decided(static_cast<uint64_t>(std::clamp(share / first_us, 5.0, kMostBarriers))));
    std::vector<double> us;
    for (uint64_t i = 0; i < rounds; ++i) {
      EXO_ASSIGN(const double barrier_us, timed());
      us.push_back(barrier_us);
    }
    return median(us);
  }

  Result<Timing> timeSize(size_t bytes, size_t measurements_left) {
    Timing timing{.bytes = bytes};
    values_.assign(std::max<size_t>(1, bytes / sizeof(float)), 0.0f);
    for (const Candidate& candidate : candidates_) {
      const auto a = static_cast<size_t>(candidate.algorithm);
      EXO_ASSIGN(const double first_us, timeRound(*candidate.group));
      const double share = left().count() / static_cast<double>(measurements_left--) / kRepetitions;
      EXO_ASSIGN(const uint64_t rounds, decided(static_cast<uint64_t>(std::clamp(share / first_us, 1.0, double{kMostRounds}))));
      std::vector<double> medians;
      for (uint64_t repetition = 0; repetition < kRepetitions; ++repetition) {
        std::vector<double> us;
        for (uint64_t i = 0; i < rounds; ++i) {
          EXO_ASSIGN(const double round_us, timeRound(*candidate.group));
          us.push_back(round_us);
        }
        medians.push_back(median(us));
      }
      timing.us[a] = median(medians);
      const auto [least, most] = std::minmax_element(medians.begin(), medians.end());
      timing.spread[a] = (*most - *least) / timing.us[a];
    }
    return timing;
  }

  Result<double> timeRound(Communicator& group) {
    EXO_TRY(group.barrier("calibration"));
    const Clock::time_point begin = Clock::now();
    EXO_TRY(group.allReduce(values_, values_, "calibration"));
    return std::max(0.01, Microseconds(Clock::now() - begin).count());
  }

  std::vector<Candidate> candidates_;
  const CalibrationOptions& options_;
  Clock::time_point deadline_;
  std::vector<float> values_;
};

bool hasOwnForm(Algorithm algorithm, const Communicator& group) {
  if (group.size() <= 2) return algorithm == Algorithm::kOneShot;
  const size_t runs = group.hostRuns().size();
  return algorithm != Algorithm::kHierarchical || (runs > 1 && runs < static_cast<size_t>(group.size()));
}

}  // namespace

Result<Calibration> calibrate(transport::Mesh& mesh, const std::vector<int>& group, const CalibrationOptions& options) {
  if (!std::is_sorted(options.sizes.begin(), options.sizes.end())) return invalid("sizes of a calibration must be ascending");
  std::vector<Candidate> candidates;
  for (const Algorithm algorithm : kAlgorithms) {
    Options forced{.timeout = options.timeout};
    forced.algorithms.others = Thresholds::always(algorithm);
    EXO_ASSIGN(auto communicator, Communicator::create(mesh, group, forced));
    if (hasOwnForm(algorithm, *communicator)) candidates.push_back({algorithm, std::move(communicator)});
  }
  return Calibrator(std::move(candidates), options).run();
}

}  // namespace exo::collectives
