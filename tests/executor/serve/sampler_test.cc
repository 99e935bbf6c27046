#include "executor/serve/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace exo::serve {
namespace {

constexpr int64_t kVocabulary = 1000;

/// A row of logits as the ranks see it: controls applied to each part, candidates and statistics merged.
struct Ranks {
  std::vector<std::vector<float>> parts;
  std::vector<int64_t> begins;
  int64_t candidates = 64;

  struct Row {
    std::vector<float> values;
    std::vector<int32_t> ids;
    codegen::RowStatistics statistics;
    RowResult result() const { return {values, ids, statistics}; }
  };
  Row compute(const codegen::RowControl& control, const codegen::RowControls& controls) const {
    Row row;
    std::vector<std::pair<float, int32_t>> best;
    for (size_t part = 0; part < parts.size(); ++part) {
      std::vector<float> logits = parts[part];
      codegen::editLogits(logits, begins[part], control, controls, codegen::maskWords(kVocabulary));
      codegen::RowStatistics mine;
      if ((control.flags & codegen::RowControl::kStatistics) != 0) mine = codegen::statisticsOf(logits, control.inverse_temperature);
      if ((control.flags & codegen::RowControl::kDraw) != 0) {
        const codegen::Draw draw = codegen::drawToken(logits, begins[part], control);
        if (draw.id >= 0) {
          best.emplace_back(draw.score, draw.id);
          mine.draw_score = draw.score;
          mine.drawn = logits[static_cast<size_t>(draw.id - begins[part])];
        }
      } else {
        for (size_t i = 0; i < logits.size(); ++i) best.emplace_back(logits[i], static_cast<int32_t>(begins[part] + static_cast<int64_t>(i)));
      }
      row.statistics.merge(mine);
    }
    std::sort(best.begin(), best.end(), [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
    best.resize(std::min(best.size(), static_cast<size_t>(candidates)));
    for (const auto& [value, id] : best) {
      row.values.push_back(value);
      row.ids.push_back(id);
    }
    return row;
  }
};

Ranks ranks(const std::vector<float>& logits, size_t count) {
  Ranks ranks;
  const size_t each = (logits.size() / count + 15) / 16 * 16;
  for (size_t begin = 0; begin < logits.size(); begin += each) {
    ranks.begins.push_back(static_cast<int64_t>(begin));
    ranks.parts.emplace_back(logits.begin() + static_cast<int64_t>(begin), logits.begin() + static_cast<int64_t>(std::min(logits.size(), begin + each)));
  }
  return ranks;
}

int32_t chooseOne(const Sampler& sampler, const Ranks& from, uint64_t position) {
  std::vector<codegen::RowControl> controls;
  std::vector<codegen::LogitEdit> edits;
  if (!sampler.addControls(position, controls, edits)) controls.emplace_back();
  std::vector<Ranks::Row> rows;
  std::vector<RowResult> results;
  for (const codegen::RowControl& control : controls) rows.push_back(from.compute(control, {controls, edits, {}}));
  for (const Ranks::Row& row : rows) results.push_back(row.result());
  Result<Choice> choice = sampler.choose(position, results);
  EXPECT_TRUE(choice.ok()) << choice.error();
  return choice.ok() ? choice->token.id : -1;
}

std::map<int32_t, double> frequencies(const SamplingParameters& parameters, const std::vector<float>& logits, size_t count, int draws = 4000) {
  const Ranks from = ranks(logits, count);
  const Sampler sampler(parameters, {}, {}, kVocabulary);
  std::map<int32_t, double> seen;
  for (int i = 0; i < draws; ++i) seen[chooseOne(sampler, from, static_cast<uint64_t>(i))] += 1.0 / draws;
  return seen;
}

std::vector<float> logitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3.25));
  return logits;
}

const std::vector<double> kFew = {0.4, 0.3, 0.15, 0.1, 0.05};

TEST(SamplerTest, GreedyIsTheLikeliestAndTiesAreTheSmallerId) {
  EXPECT_EQ(chooseOne(Sampler({}, {}, {}, kVocabulary), ranks({1, 5, 2, 5}, 1), 7), 1);
  EXPECT_EQ(chooseOne(Sampler({.temperature = 1, .top_k = 1, .seed = 3}, {}, {}, kVocabulary), ranks({1, 5, 2, 5}, 1), 7), 1);
}

TEST(SamplerTest, TemperatureAloneDrawsFromTheWholeDistribution) {
  // More tokens than candidates, all alike but one; and a distribution with known shares.
  std::vector<float> flat(960, 0.0f);
  flat[500] = std::log(240.0f);   // a fifth of all
  for (const size_t count : {size_t{1}, size_t{3}}) {
    const auto seen = frequencies({.temperature = 1, .seed = 1}, flat, count);
    EXPECT_NEAR(seen.at(500), 240.0 / 1199, 0.025);
    EXPECT_GT(seen.size(), 700u) << "tokens that are no candidates come too";
    const auto few = frequencies({.temperature = 1, .seed = 1}, logitsOf(kFew), 1);
    for (size_t i = 0; i < kFew.size(); ++i) EXPECT_NEAR(few.at(static_cast<int32_t>(i)), kFew[i], 0.025);
  }
  const auto cool = frequencies({.temperature = 0.5, .seed = 1}, logitsOf(kFew), 1);   // squares, normalised
  EXPECT_NEAR(cool.at(0), 0.16 / 0.285, 0.03);
}

TEST(SamplerTest, ADrawIsTheSameHoweverTheVocabularyIsDivided) {
  std::vector<float> logits;
  for (int i = 0; i < 990; ++i) logits.push_back(std::sin(static_cast<float>(i) * 1.7f) * 3);
  const Sampler sampler({.temperature = 1.2f, .seed = 77}, {}, {}, kVocabulary);
  for (uint64_t position = 0; position < 300; ++position) {
    const int32_t whole = chooseOne(sampler, ranks(logits, 1), position);
    for (const size_t count : {size_t{2}, size_t{5}}) EXPECT_EQ(chooseOne(sampler, ranks(logits, count), position), whole);
  }
}

TEST(SamplerTest, TopPCountsTheWholeVocabulary) {
  // 0.4 + 0.3 reach 0.6 of the five alone, but not of these five and a tail as heavy as they are.
  std::vector<float> logits = logitsOf(kFew);
  const auto alone = frequencies({.temperature = 1, .top_p = 0.6f, .seed = 1}, logits, 1);
  EXPECT_EQ(alone.size(), 2u);
  EXPECT_NEAR(alone.at(0), 4.0 / 7, 0.03);
  logits.resize(905, logitsOf({1.0 / 900})[0]);
  for (const size_t count : {size_t{1}, size_t{4}}) EXPECT_EQ(frequencies({.temperature = 1, .top_p = 0.4f, .seed = 1}, logits, count).size(), 3u) << "0.2 + 0.15 + 0.075";
}

TEST(SamplerTest, TopKMinPAndTypicalPLeaveTheirTokens) {
  const auto kept = [](const SamplingParameters& parameters) {
    std::vector<int32_t> ids;
    for (const auto& [id, share] : frequencies(parameters, logitsOf(kFew), 1, 1000)) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(kept({.temperature = 1, .top_k = 3, .seed = 1}), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(kept({.temperature = 1, .min_p = 0.3f, .seed = 1}), (std::vector<int32_t>{0, 1, 2}));
  // Entropy: 1.392 nats. Surprises 0.916, 1.204, 1.897, 2.303, 2.996: nearest are 1 (0.19), 0 (0.48), 2 (0.51).
  EXPECT_EQ(kept({.temperature = 1, .typical_p = 0.25f, .seed = 1}), (std::vector<int32_t>{1}));
  EXPECT_EQ(kept({.temperature = 1, .typical_p = 0.5f, .seed = 1}), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(kept({.temperature = 1, .typical_p = 0.8f, .seed = 1}), (std::vector<int32_t>{0, 1, 2}));
  // top_k first: of two, 0.57 and 0.43.
  EXPECT_EQ(kept({.temperature = 1, .top_k = 2, .top_p = 0.5f, .seed = 1}), (std::vector<int32_t>{0}));
}

TEST(SamplerTest, PenaltiesAndBiasesActOnWhatWasSeen) {
  const std::vector<float> logits = {2.0f, 1.9f, -1.0f, -1.1f};
  const std::vector<int32_t> prompt = {0};
  Sampler repetition({.repetition_penalty = 1.5f}, {}, prompt, kVocabulary);
  EXPECT_EQ(chooseOne(repetition, ranks(logits, 1), 1), 1) << "2.0 / 1.5";
  Sampler frequency({.frequency_penalty = 0.2f}, {}, prompt, kVocabulary);
  EXPECT_EQ(chooseOne(frequency, ranks(logits, 1), 1), 0) << "the prompt does not count";
  frequency.accept(0);
  EXPECT_EQ(chooseOne(frequency, ranks(logits, 1), 2), 1);
  frequency.accept(1);
  EXPECT_EQ(chooseOne(frequency, ranks(logits, 1), 3), 0);
  Sampler presence({.presence_penalty = 4.0f}, {}, {}, kVocabulary);
  for (const int32_t expected : {0, 1, 2, 3, 0}) {
    EXPECT_EQ(chooseOne(presence, ranks(logits, 1), 1), expected);
    presence.accept(expected);
  }
  // Negative logits are multiplied: -1.0 falls to -1.5.
  Sampler negative({.repetition_penalty = 1.5f, .logit_bias = {{0, -10.0f}, {1, -10.0f}}}, {}, std::vector<int32_t>{2}, kVocabulary);
  EXPECT_EQ(chooseOne(negative, ranks(logits, 1), 1), 3);
}

TEST(SamplerTest, BrokenLogitsAreRefused) {
  const Sampler sampler({.temperature = 1, .top_k = 5, .seed = 1}, {}, {}, kVocabulary);
  const auto refused = [&](std::vector<float> values, std::vector<int32_t> ids) {
    const RowResult row{values, ids, {}};
    const auto choice = sampler.choose(1, std::span(&row, 1));
    return !choice.ok() && choice.error().code() == ErrorCode::kMismatch;
  };
  EXPECT_TRUE(refused({1, 2}, {1000, 1}));
  EXPECT_TRUE(refused({1, 2}, {-2, 1}));
  EXPECT_TRUE(refused({1, std::nanf("")}, {0, 1}));
  EXPECT_TRUE(refused({1, std::numeric_limits<float>::infinity()}, {0, 1}));
  EXPECT_TRUE(refused({1, 2}, {-1, -1}));
  EXPECT_TRUE(refused({1, 2, 3}, {0, 1}));
}

}  // namespace
}  // namespace exo::serve
