#include "frontend/config/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace exo {
namespace {

TEST(Suggest, DistanceCountsEditsAndSwaps) {
  EXPECT_EQ(editDistance("", ""), 0u);
  EXPECT_EQ(editDistance("abc", "abc"), 0u);
  EXPECT_EQ(editDistance("abc", ""), 3u);
  EXPECT_EQ(editDistance("kitten", "sitting"), 3u);  // k→s, e→i, +g
  EXPECT_EQ(editDistance("form", "from"), 1u);       // one swap of neighbours
}

TEST(Suggest, NamesTheNearestWithinReason) {
  const std::vector<std::string> known = {"llama", "qwen2", "qwen3", "mixtral"};
  EXPECT_EQ(suggest("lama", known), "llama");
  EXPECT_EQ(suggest("qwen", known), "qwen2");  // equally near: the first
  EXPECT_EQ(suggest("falcon", known), std::nullopt);
  EXPECT_EQ(didYouMean("mixtrla", known), "; did you mean \"mixtral\"?");
  EXPECT_EQ(didYouMean("gpt_oss", known), "");
  EXPECT_EQ(suggest(std::string(1'000'000, 'x'), known), std::nullopt);
}

}  // namespace
}  // namespace exo
