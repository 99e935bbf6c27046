#include "tests/executor/serve/fake_runner.h"

#include <algorithm>
#include <numeric>

namespace exo::serve::testing {

uint64_t FakeRunner::hashOf(std::span<const int32_t> tokens) {
  uint64_t hash = 1469598103934665603u;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token + 7)) * 1099511628211u;
  return hash;
}

/// In [-4, 4).
float FakeRunner::logit(uint64_t hash, int32_t id) const {
  uint64_t mixed = (hash ^ static_cast<uint64_t>(id) * 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
  mixed ^= mixed >> 31;
  return static_cast<float>(mixed % 4096) / 512.0f - 4.0f;
}

int32_t FakeRunner::next(const std::vector<int32_t>& tokens) const {
  const uint64_t hash = hashOf(tokens);
  int32_t best = 0;
  for (int32_t id = 1; id < limits_.vocab_size; ++id)
    if (logit(hash, id) > logit(hash, best)) best = id;
  return best;
}

Status FakeRunner::step(const runtime::StepInput& input, runtime::GatherLogits gather, runtime::StepOutput* output) {
  EXO_TRY(runtime::validate(input, limits_));
  if (before_step) EXO_TRY(before_step());
  ++steps;
  tokens += input.numTokens();
  largest_step = std::max(largest_step, input.numTokens());
  const auto slot = [&](int64_t sequence, int64_t position) {
    const int32_t page = input.page_table[static_cast<size_t>(sequence * input.page_table_stride + position / limits_.page_tokens)];
    return static_cast<size_t>(page * limits_.page_tokens + position % limits_.page_tokens);
  };
  for (size_t t = 0; t < input.tokens.size(); ++t) kv_[slot(input.sequence[t], input.positions[t])] = input.tokens[t];

  const auto rows = static_cast<size_t>(input.numRows()), vocabulary = static_cast<size_t>(limits_.vocab_size);
  values_.assign(rows * kCandidates, -std::numeric_limits<float>::infinity());
  ids_.assign(rows * kCandidates, -1);
  statistics_.assign(rows, {});
  gathered_.clear();
  for (size_t r = 0; r < rows; ++r) {
    const auto t = static_cast<size_t>(input.rows[r]);
    std::vector<int32_t> before;
    for (int32_t p = 0; p <= input.positions[t]; ++p) before.push_back(kv_[slot(input.sequence[t], p)]);
    const uint64_t hash = hashOf(before);
    std::vector<float> logits(vocabulary);
    for (size_t id = 0; id < vocabulary; ++id) logits[id] = logit(hash, static_cast<int32_t>(id));
    if (gather == runtime::GatherLogits::kToRankZero) gathered_.insert(gathered_.end(), logits.begin(), logits.end());
    int64_t count = std::min<int64_t>(kCandidates, limits_.vocab_size);
    std::vector<int32_t> order(vocabulary);
    std::iota(order.begin(), order.end(), 0);
    if (!input.controls.rows.empty()) {
      const codegen::RowControl& control = input.controls.rows[r];
      codegen::editLogits(logits, 0, control, input.controls, codegen::maskWords(limits_.vocab_size));
      if ((control.flags & codegen::RowControl::kStatistics) != 0) statistics_[r] = codegen::statisticsOf(logits, control.inverse_temperature);
      if ((control.flags & codegen::RowControl::kDraw) != 0) {
        const codegen::Draw draw = codegen::drawToken(logits, 0, control);
        statistics_[r].drawn = logits[static_cast<size_t>(draw.id)];
        values_[r * kCandidates] = draw.score;
        ids_[r * kCandidates] = draw.id;
        continue;
      }
    }
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)]; });
    for (int64_t i = 0; i < count; ++i) {
      ids_[r * kCandidates + static_cast<size_t>(i)] = order[static_cast<size_t>(i)];
      values_[r * kCandidates + static_cast<size_t>(i)] = logits[static_cast<size_t>(order[static_cast<size_t>(i)])];
    }
  }
  *output = {.rows = static_cast<int64_t>(rows), .candidates = kCandidates, .values = values_, .ids = ids_};
  if (input.wantsStatistics()) output->statistics = statistics_;
  return {};
}

}  // namespace exo::serve::testing
