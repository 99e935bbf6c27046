#include "codegen/logits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace exo::codegen {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

std::vector<float> wave(int64_t count) {
  std::vector<float> logits;
  for (int64_t i = 0; i < count; ++i) logits.push_back(std::sin(static_cast<float>(i) * 0.37f) * 12);
  return logits;
}

TEST(Logits, EditsTouchTheirTokensAlone) {
  const std::vector<LogitEdit> edits = {{3, 2, 0}, {16, 2, -1}, {17, 1, kNone}, {99, 1, 5}};
  const std::vector<RowControl> rows = {{.edits_begin = 0, .edits_end = 4}, {.edits_begin = 1, .edits_end = 2}};
  const RowControls controls{rows, edits, {}};
  std::vector<float> part(8, 3.0f);   // ids 16 to 23
  editLogits(part, 16, rows[0], controls, 4);
  EXPECT_EQ(part, (std::vector<float>{0.5f, kNone, 3, 3, 3, 3, 3, 3}));
  part.assign(8, -3.0f);
  editLogits(part, 16, rows[1], controls, 4);
  EXPECT_EQ(part, (std::vector<float>{-7, -3, -3, -3, -3, -3, -3, -3}));
}

TEST(Logits, AMaskForbidsWhatItDoesNotName) {
  const std::vector<uint32_t> masks = {0, 0, 0b101, 1};   // two masks of two words
  const RowControl row{.mask = 1};
  std::vector<float> part(4, 1.0f);
  editLogits(part, 0, row, {{}, {}, masks}, 2);
  EXPECT_EQ(part, (std::vector<float>{1, kNone, 1, kNone}));
  part.assign(2, 1.0f);
  editLogits(part, 32, row, {{}, {}, masks}, 2);
  EXPECT_EQ(part, (std::vector<float>{1, kNone}));
}

TEST(Logits, StatisticsAreThoseOfTheFormulaAndMerge) {
  const std::vector<float> logits = wave(1000);
  for (const float beta : {1.0f, 0.25f, 4.0f}) {
    double sum = 0, weighted = 0;
    const float largest = *std::max_element(logits.begin(), logits.end());
    for (const float logit : logits) {
      const double x = static_cast<double>(beta) * (static_cast<double>(logit) - static_cast<double>(largest));
      sum += std::exp(x);
      weighted += x * std::exp(x);
    }
    const RowStatistics whole = statisticsOf(logits, beta);
    EXPECT_FLOAT_EQ(whole.largest, largest * beta);
    EXPECT_NEAR(whole.sum, sum, 1e-5 * sum);
    EXPECT_NEAR(whole.weighted, weighted, 1e-5 * std::abs(weighted));
    RowStatistics parts;
    for (size_t begin = 0; begin < 1000; begin += 250) parts.merge(statisticsOf(std::span(logits).subspan(begin, 250), beta));
    EXPECT_FLOAT_EQ(parts.largest, whole.largest);
    EXPECT_NEAR(parts.sum, sum, 1e-5 * sum);
    EXPECT_NEAR(parts.weighted, weighted, 1e-5 * std::abs(weighted));
  }
}

TEST(Logits, WhatIsForbiddenOrNoNumberHasNoShare) {
  const std::vector<float> none(40, kNone);
  EXPECT_EQ(statisticsOf(none, 1).sum, 0);
  EXPECT_EQ(drawToken(none, 0, {}).id, -1);
  std::vector<float> one(40, kNone);
  one[33] = -5;
  one[20] = std::nanf("");
  EXPECT_DOUBLE_EQ(statisticsOf(one, 1).sum, 1);
  for (uint64_t position = 0; position < 100; ++position) EXPECT_EQ(drawToken(one, 64, {.position = position}).id, 97);
}

TEST(Logits, TheBestOfTheRanksDrawsIsTheDrawOfTheWhole) {
  const std::vector<float> logits = wave(997);
  for (uint64_t position = 0; position < 200; ++position) {
    const RowControl control{.seed = 42, .position = position, .inverse_temperature = 0.3f};
    const Draw whole = drawToken(logits, 0, control);
    Draw best;
    for (const auto& [begin, end] : {std::pair<size_t, size_t>{0, 304}, {304, 320}, {320, 997}}) {
      const Draw draw = drawToken(std::span(logits).subspan(begin, end - begin), static_cast<int64_t>(begin), control);
      if (draw.score > best.score) best = draw;
    }
    EXPECT_EQ(best.id, whole.id);
    EXPECT_EQ(best.score, whole.score);
  }
}

}  // namespace
}  // namespace exo::codegen
