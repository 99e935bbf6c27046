// Fifteen minutes of the engine's figures, one row a second: what the plots show. A row is made of two snapshots of the
// counters, a second apart; quantiles are of a quarter of a minute, since a second has too few requests.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "executor/serve/metrics.h"

namespace exo::serve {

/// The value below which `part` (0 to 1) of the durations lie that `now` counts and `before` does not, in seconds:
/// linear inside a bucket. The last bucket's lower bound where it lies beyond; nothing without any.
std::optional<double> quantile(const DurationHistogram& before, const DurationHistogram& now, double part);

struct SeriesRow {
  double time = 0;                            // seconds of the Unix epoch
  std::vector<std::optional<double>> values;  // by column; none: there was nothing to measure
};

class Series {
 public:
  static constexpr size_t kRows = 900;
  static constexpr size_t kWindow = 15;       // rows that quantiles look back

  /// `peers`: ranks that rank 0 may wait for; each gets a column "peer_wait.RANK", the part of a second.
  explicit Series(std::vector<int> peers);

  /// Rising times. The first call only keeps the counters.
  void add(double time, const Metrics& metrics);

  const std::vector<std::string>& columns() const { return columns_; }
  const std::deque<SeriesRow>& rows() const { return rows_; }

  /// {"time": ..., column: value or null, ...}; null before the first row.
  nlohmann::json latest() const;
  /// {"interval_s": 1, "columns": {"time": [...], column: [...], ...}} of rows later than `since`.
  nlohmann::json since(double since) const;

 private:
  struct Counters {
    double time = 0;
    Metrics metrics;
  };
  std::vector<int> peers_;
  std::vector<std::string> columns_;
  std::deque<Counters> window_;               // the newest last
  std::deque<SeriesRow> rows_;
};

}  // namespace exo::serve
