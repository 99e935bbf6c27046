#include "executor/serve/metrics.h"

#include <gtest/gtest.h>

namespace exo::serve {
namespace {

TEST(DurationHistogramTest, CountsAreCumulative) {
  DurationHistogram histogram;
  for (const double seconds : {0.001, 0.03, 1000.0}) histogram.observe(seconds);
  EXPECT_EQ(histogram.counts[0], 1u);   // up to and including 1 ms
  EXPECT_EQ(histogram.counts[4], 1u);   // 25 ms
  EXPECT_EQ(histogram.counts[5], 2u);   // 50 ms
  EXPECT_EQ(histogram.counts[16], 2u);  // 250 s
  EXPECT_EQ(histogram.counts[17], 3u);  // all
  EXPECT_DOUBLE_EQ(histogram.sum, 1000.031);
}

}  // namespace
}  // namespace exo::serve
