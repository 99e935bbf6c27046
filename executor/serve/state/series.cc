#include "executor/serve/state/series.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace exo::serve {
namespace {

/// What a row is made of.
struct Interval {
  const Metrics& before;
  const Metrics& now;
  const Metrics& window;   // at the window's begin
  double seconds;          // before → now
};

using Value = std::optional<double>;

Value rate(uint64_t before, uint64_t now, double seconds) { return static_cast<double>(now - before) / seconds; }
Value mean(double before, double now, uint64_t steps) { return steps == 0 ? Value() : (now - before) / static_cast<double>(steps); }
Value part(int64_t of, int64_t all) { return all == 0 ? Value() : static_cast<double>(of) / static_cast<double>(all); }

struct Column {
  const char* name;
  Value (*value)(const Interval&);
};

/// The one list of columns; units are in the names.
constexpr Column kColumns[] = {
    {"generated_tokens_per_s", [](const Interval& i) { return rate(i.before.generated_tokens, i.now.generated_tokens, i.seconds); }},
    // Cached tokens of a prompt were not computed; both counters move when a prompt is done.
    {"prompt_tokens_per_s",
     [](const Interval& i) { return rate(i.before.prompt_tokens - i.before.cached_prompt_tokens, i.now.prompt_tokens - i.now.cached_prompt_tokens, i.seconds); }},
    {"cached_prompt_tokens_per_s", [](const Interval& i) { return rate(i.before.cached_prompt_tokens, i.now.cached_prompt_tokens, i.seconds); }},
    {"steps_per_s", [](const Interval& i) { return rate(i.before.steps, i.now.steps, i.seconds); }},
    {"step_s", [](const Interval& i) { return mean(i.before.step_seconds, i.now.step_seconds, i.now.steps - i.before.steps); }},
    {"step_tokens", [](const Interval& i) { return mean(static_cast<double>(i.before.step_tokens), static_cast<double>(i.now.step_tokens), i.now.steps - i.before.steps); }},
    {"step_sequences",
     [](const Interval& i) { return mean(static_cast<double>(i.before.step_sequences), static_cast<double>(i.now.step_sequences), i.now.steps - i.before.steps); }},
    {"busy", [](const Interval& i) { return Value(std::min(1.0, (i.now.step_seconds - i.before.step_seconds) / i.seconds)); }},
    {"running", [](const Interval& i) { return Value(static_cast<double>(i.now.running)); }},
    {"waiting", [](const Interval& i) { return Value(static_cast<double>(i.now.waiting)); }},
    {"kv_used", [](const Interval& i) { return part(i.now.pages_used, i.now.pages); }},
    {"kv_cached", [](const Interval& i) { return part(i.now.pages_cached, i.now.pages); }},
    {"refused_per_s", [](const Interval& i) { return rate(i.before.refused, i.now.refused, i.seconds); }},
    {"failed_per_s", [](const Interval& i) { return rate(i.before.failed, i.now.failed, i.seconds); }},
    {"time_to_first_token_p50_s", [](const Interval& i) { return quantile(i.window.time_to_first_token, i.now.time_to_first_token, 0.5); }},
    {"time_to_first_token_p95_s", [](const Interval& i) { return quantile(i.window.time_to_first_token, i.now.time_to_first_token, 0.95); }},
    {"inter_token_p50_s", [](const Interval& i) { return quantile(i.window.inter_token, i.now.inter_token, 0.5); }},
    {"inter_token_p95_s", [](const Interval& i) { return quantile(i.window.inter_token, i.now.inter_token, 0.95); }},
};

double waitFor(const Metrics& metrics, int rank) {
  for (const PeerWait& wait : metrics.peer_waits)
    if (wait.rank == rank) return wait.seconds;
  return 0;
}

nlohmann::json orNull(const Value& value) { return value ? nlohmann::json(*value) : nlohmann::json(); }

}  // namespace

std::optional<double> quantile(const DurationHistogram& before, const DurationHistogram& now, double part) {
  const auto count = [&](size_t bucket) { return static_cast<double>(now.counts[bucket] - before.counts[bucket]); };
  const double all = count(DurationHistogram::kBounds.size());
  if (all == 0) return {};
  const double wanted = part * all;
  double lower = 0, below = 0;
  for (size_t i = 0; i < DurationHistogram::kBounds.size(); ++i) {
    const double upper = DurationHistogram::kBounds[i];
    if (count(i) >= wanted && count(i) > below) return lower + (upper - lower) * (wanted - below) / (count(i) - below);
    lower = upper, below = count(i);
  }
  return lower;
}

Series::Series(std::vector<int> peers) : peers_(std::move(peers)) {
  for (const Column& column : kColumns) columns_.push_back(column.name);
  for (const int rank : peers_) columns_.push_back("peer_wait." + std::to_string(rank));
}

void Series::add(double time, const Metrics& metrics) {
  if (!window_.empty() && time > window_.back().time) {
    const Counters& before = window_.back();
    const Interval interval{before.metrics, metrics, window_.front().metrics, time - before.time};
    SeriesRow& row = rows_.emplace_back(SeriesRow{time, {}});
    for (const Column& column : kColumns) row.values.push_back(column.value(interval));
    for (const int rank : peers_) row.values.push_back((waitFor(metrics, rank) - waitFor(before.metrics, rank)) / interval.seconds);
    if (rows_.size() > kRows) rows_.pop_front();
  }
  window_.push_back({time, metrics});
  if (window_.size() > kWindow) window_.pop_front();
}

nlohmann::json Series::latest() const {
  if (rows_.empty()) return {};
  nlohmann::json json{{"time", rows_.back().time}};
  for (size_t c = 0; c < columns_.size(); ++c) json[columns_[c]] = orNull(rows_.back().values[c]);
  return json;
}

nlohmann::json Series::since(double since) const {
  const auto first = std::find_if(rows_.begin(), rows_.end(), [&](const SeriesRow& row) { return row.time > since; });
  nlohmann::json columns{{"time", nlohmann::json::array()}};
  for (const std::string& name : columns_) columns[name] = nlohmann::json::array();
  for (auto row = first; row != rows_.end(); ++row) {
    columns["time"].push_back(row->time);
    for (size_t c = 0; c < columns_.size(); ++c) columns[columns_[c]].push_back(orNull(row->values[c]));
  }
  return {{"interval_s", 1}, {"columns", std::move(columns)}};
}

}  // namespace exo::serve
