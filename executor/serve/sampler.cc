#include "executor/serve/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/base/counter_random.h"

namespace exo::serve {
namespace {

using codegen::LogitEdit;
using codegen::RowControl;
using codegen::RowStatistics;

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// Keeps the fewest of the first elements that together have `share` of `whole`.
template <class Candidates>
double keepShare(Candidates& candidates, double share, double whole) {
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || sum < share * whole)) sum += candidates[kept++].probability;
  candidates.resize(kept);
  return sum;
}

}  // namespace

Sampler::Sampler(SamplingParameters parameters, Options options, std::span<const int32_t> prompt, int64_t vocab_size)
    : parameters_(std::move(parameters)), options_(std::move(options)), vocab_size_(vocab_size) {
  if (parameters_.top_k >= vocab_size_) parameters_.top_k = 0;   // all
  const SamplingParameters& p = parameters_;
  const bool cuts = p.top_k > 0 || p.top_p < 1 || p.min_p > 0 || p.typical_p < 1;
  way_ = p.greedy() ? Way::kGreedy : cuts ? Way::kCandidates : Way::kDraw;
  whole_sums_ = way_ == Way::kCandidates && p.top_k == 0 && (p.top_p < 1 || p.typical_p < 1);
  for (const auto& [id, bias] : p.logit_bias) seen_[id].bias = bias;
  if (options_.forbidden_until > 0)
    for (const int32_t id : options_.forbidden_first) seen_[id].forbidden = true;
  if (p.repetition_penalty != 1)
    for (const int32_t id : prompt) count(id, false);
  if (options_.logprobs && (way_ != Way::kGreedy || edits() || options_.constrained)) rows_ = 2;
}

bool Sampler::edits() const {
  const SamplingParameters& p = parameters_;
  return p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0 || !p.logit_bias.empty() || options_.forbidden_until > 0;
}

void Sampler::count(int32_t token, bool in_answer) {
  Seen& seen = seen_[token];
  seen.anywhere = true;
  seen.in_answer += in_answer ? 1 : 0;
}

void Sampler::accept(int32_t token) {
  ++chosen_;
  if (edits()) count(token, true);
}

LogitEdit Sampler::editOf(int32_t token) const {
  const auto found = seen_.find(token);
  if (found == seen_.end()) return {.id = token};
  const Seen& seen = found->second;
  const SamplingParameters& p = parameters_;
  LogitEdit edit{token, seen.anywhere ? p.repetition_penalty : 1.0f, seen.bias};
  if (seen.in_answer > 0) edit.addend -= p.presence_penalty + p.frequency_penalty * static_cast<float>(seen.in_answer);
  if (seen.forbidden && chosen_ < options_.forbidden_until) edit.addend = kNever;
  return edit;
}

bool Sampler::addControls(uint64_t position, std::vector<RowControl>& controls, std::vector<LogitEdit>& edits) const {
  RowControl control{.seed = parameters_.seed.value_or(0), .position = position};
  if (way_ != Way::kGreedy) control.inverse_temperature = std::max(1 / parameters_.temperature, std::numeric_limits<float>::min());
  control.inverse_temperature = std::min(control.inverse_temperature, 1e6f);
  control.edits_begin = static_cast<uint32_t>(edits.size());
  for (const auto& [id, seen] : seen_) {
    const LogitEdit edit = editOf(id);
    if (edit.divisor != 1 || edit.addend != 0) edits.push_back(edit);
  }
  control.edits_end = static_cast<uint32_t>(edits.size());
  const bool drawn = way_ == Way::kDraw;
  if (drawn) control.flags |= RowControl::kDraw;
  if (whole_sums_ || (drawn && options_.logprobs) || (rows_ == 1 && options_.logprobs)) control.flags |= RowControl::kStatistics;
  const bool edited = control.edits_begin != control.edits_end;
  if (rows_ == 1 && control.flags == 0 && !edited && !options_.constrained) return false;
  if (rows_ == 2) controls.push_back({.flags = RowControl::kStatistics});
  controls.push_back(control);
  return true;
}

Result<std::vector<Sampler::Candidate>> Sampler::candidatesOf(const RowResult& row) const {
  if (row.values.size() != row.ids.size())
    return makeError(ErrorCode::kMismatch, "sampling: ", row.values.size(), " values but ", row.ids.size(), " ids");
  std::vector<Candidate> candidates;
  candidates.reserve(row.values.size());
  bool any = false;
  for (size_t i = 0; i < row.values.size(); ++i) {
    if (row.ids[i] == -1) continue;
    any = true;
    if (row.ids[i] < 0 || row.ids[i] >= vocab_size_)
      return makeError(ErrorCode::kMismatch, "sampling: candidate token ", row.ids[i], " is outside the vocabulary of ", vocab_size_);
    if (std::isnan(row.values[i]) || row.values[i] == std::numeric_limits<float>::infinity())
      return makeError(ErrorCode::kMismatch, "sampling: the logit of token ", row.ids[i], " is ", row.values[i],
                       "; the computation overflowed or the weights are damaged");
    if (row.values[i] != kNever) candidates.push_back({row.values[i], row.ids[i], 0});
  }
  if (candidates.empty() && (options_.constrained || edits()))
    return invalid("no token is allowed here: constraint, logit_bias and min_tokens together forbid all of them");
  if (candidates.empty()) return makeError(ErrorCode::kMismatch, "sampling: ", any ? "no candidate is a number" : "no candidate token");
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.value != b.value ? a.value > b.value : a.id < b.id; });
  return candidates;
}

Sampler::Candidate Sampler::pick(std::vector<Candidate> candidates, const RowStatistics& statistics, uint64_t position) const {
  const SamplingParameters& p = parameters_;
  if (p.top_k > 0 && p.top_k < static_cast<int64_t>(candidates.size())) candidates.resize(static_cast<size_t>(p.top_k));
  // Differences before the division: a small temperature then gives 0 or 1, never inf - inf.
  double whole = 0, weighted = 0;
  for (Candidate& each : candidates) {
    const double x = (static_cast<double>(each.value) - static_cast<double>(candidates[0].value)) / static_cast<double>(p.temperature);
    each.probability = std::exp(x);
    whole += each.probability;
    if (each.probability > 0) weighted += x * each.probability;
  }
  if (whole_sums_ && statistics.sum > whole) {
    whole = statistics.sum;
    weighted = statistics.weighted;
  }
  if (p.typical_p < 1) {
    const double entropy = std::log(whole) - weighted / whole;
    const auto surprise = [&](const Candidate& each) { return std::abs(-std::log(std::max(each.probability / whole, 1e-300)) - entropy); };
    std::stable_sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) { return surprise(a) < surprise(b); });
    whole = keepShare(candidates, static_cast<double>(p.typical_p), whole);
    std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.value != b.value ? a.value > b.value : a.id < b.id; });
  }
  if (p.top_p < 1) keepShare(candidates, static_cast<double>(p.top_p), whole);
  const double least = static_cast<double>(p.min_p) * candidates[0].probability;
  std::erase_if(candidates, [&](const Candidate& each) { return each.probability < least; });

  double kept = 0;
  for (const Candidate& each : candidates) kept += each.probability;
  double remaining = uniform(p.seed.value_or(0), position) * kept;
  for (const Candidate& each : candidates) {
    remaining -= each.probability;
    if (remaining < 0) return each;
  }
  return candidates.back();   // only rounding leads here
}

/// Undoes the edit, up to rounding.
float Sampler::rawLogit(int32_t token, float edited) const {
  const LogitEdit edit = editOf(token);
  const float logit = edited - edit.addend;
  return logit > 0 ? logit * edit.divisor : logit / edit.divisor;
}

void Sampler::addLogprobs(Choice& choice, const RowResult& raw, float raw_logit) const {
  const double log_sum = static_cast<double>(raw.statistics.largest) + std::log(raw.statistics.sum);
  const auto logprob = [&](float logit) { return static_cast<float>(std::min(0.0, static_cast<double>(logit) - log_sum)); };
  for (size_t i = 0; i < raw.ids.size() && raw.ids[i] != -1; ++i) {
    if (raw.ids[i] == choice.token.id) raw_logit = raw.values[i];
    if (static_cast<int>(choice.alternatives.size()) < *options_.logprobs) choice.alternatives.push_back({raw.ids[i], logprob(raw.values[i])});
  }
  choice.token.logprob = logprob(raw_logit);
}

Result<Choice> Sampler::choose(uint64_t position, std::span<const RowResult> results) const {
  EXO_CHECK(static_cast<int64_t>(results.size()) == rows_);
  const RowResult& row = results.back();
  EXO_ASSIGN(std::vector<Candidate> candidates, candidatesOf(row));
  const Candidate chosen = way_ == Way::kCandidates ? pick(std::move(candidates), row.statistics, position) : candidates.front();
  Choice choice{.token = {.id = chosen.id}};
  if (options_.logprobs) addLogprobs(choice, results.front(), rawLogit(chosen.id, way_ == Way::kDraw ? row.statistics.drawn : chosen.value));
  return choice;
}

}  // namespace exo::serve
