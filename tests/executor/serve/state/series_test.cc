#include "executor/serve/state/series.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace exo::serve {
namespace {

TEST(QuantileTest, IsLinearInsideABucket) {
  DurationHistogram before, now;
  before.observe(0.002);
  now = before;
  for (int i = 0; i < 4; ++i) now.observe(0.04);  // in (25 ms, 50 ms]
  EXPECT_DOUBLE_EQ(*quantile(before, now, 0.5), 0.0375);
  EXPECT_DOUBLE_EQ(*quantile(before, now, 1), 0.05);
}

TEST(QuantileTest, NothingWithoutDurations) { EXPECT_EQ(quantile({}, {}, 0.5), std::nullopt); }

TEST(QuantileTest, BeyondTheLastBoundIsTheLastBound) {
  DurationHistogram now;
  now.observe(1000);
  EXPECT_EQ(quantile({}, now, 0.5), 250);
}

TEST(SeriesTest, RatesAreOfTheTimeBetweenTwoRows) {
  Series series({1});
  Metrics metrics;
  series.add(100, metrics);
  EXPECT_TRUE(series.latest().is_null());  // one snapshot has no rate
  metrics.generated_tokens = 30;
  metrics.prompt_tokens = 100, metrics.cached_prompt_tokens = 60;
  metrics.steps = 10, metrics.step_seconds = 1.5, metrics.step_tokens = 50, metrics.step_sequences = 30;
  metrics.pages = 8, metrics.pages_used = 2;
  metrics.peer_waits = {{1, 0.5}};
  series.add(102, metrics);
  const nlohmann::json row = series.latest();
  EXPECT_EQ(row["time"], 102);
  EXPECT_EQ(row["generated_tokens_per_s"], 15);
  EXPECT_EQ(row["prompt_tokens_per_s"], 20);  // 40 computed in 2 s
  EXPECT_EQ(row["cached_prompt_tokens_per_s"], 30);
  EXPECT_EQ(row["step_s"], 0.15);
  EXPECT_EQ(row["step_tokens"], 5);
  EXPECT_EQ(row["step_sequences"], 3);
  EXPECT_EQ(row["busy"], 0.75);
  EXPECT_EQ(row["kv_used"], 0.25);
  EXPECT_EQ(row["peer_wait.1"], 0.25);
  EXPECT_TRUE(row["time_to_first_token_p50_s"].is_null());
}

TEST(SeriesTest, ASecondWithoutStepsHasNoStepTime) {
  Series series({});
  series.add(1, {});
  series.add(2, {});
  EXPECT_TRUE(series.latest()["step_s"].is_null());
  EXPECT_TRUE(series.latest()["kv_used"].is_null());
}

TEST(SeriesTest, KeepsFifteenMinutes) {
  Series series({});
  for (int i = 0; i <= 1000; ++i) series.add(i, {});
  EXPECT_EQ(series.rows().size(), Series::kRows);
  const nlohmann::json all = series.since(0)["columns"]["time"];
  EXPECT_EQ(all.front(), 101);
  EXPECT_EQ(all.back(), 1000);
  EXPECT_EQ(series.since(998)["columns"]["time"], (nlohmann::json{999, 1000}));
  EXPECT_EQ(series.since(1000)["columns"]["running"], nlohmann::json::array());
}

TEST(SeriesTest, AClockThatStandsStillAddsNothing) {
  Series series({});
  for (const double time : {5.0, 6.0, 6.0, 5.5}) series.add(time, {});
  EXPECT_EQ(series.rows().size(), 1u);
}

}  // namespace
}  // namespace exo::serve
