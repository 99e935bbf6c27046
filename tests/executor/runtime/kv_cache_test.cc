#include "executor/runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <set>

namespace exo::runtime {
namespace {

TEST(KvCache, PagesGrowWithTheSequenceAndAreItsOwn) {
  KvCache cache(8, 64, 1024);
  ASSERT_TRUE(cache.reserve(1, 64).ok());
  EXPECT_EQ(cache.pages(1).size(), 1u);
  ASSERT_TRUE(cache.reserve(2, 65).ok());
  EXPECT_EQ(cache.pages(2).size(), 2u);
  const std::vector<int32_t> first(cache.pages(1).begin(), cache.pages(1).end());
  ASSERT_TRUE(cache.reserve(1, 200).ok());
  EXPECT_EQ(cache.pages(1).size(), 4u);
  EXPECT_EQ(cache.pages(1)[0], first[0]);
  EXPECT_EQ(cache.freePages(), 2);
  std::set<int32_t> all(cache.pages(1).begin(), cache.pages(1).end());
  all.insert(cache.pages(2).begin(), cache.pages(2).end());
  EXPECT_EQ(all.size(), 6u);
  ASSERT_TRUE(cache.reserve(1, 10).ok());   // shorter: nothing changes
  EXPECT_EQ(cache.pages(1).size(), 4u);
}

TEST(KvCache, ExhaustionIsAllOrNothingAndSaysTheNumbers) {
  KvCache cache(4, 64, 1024);
  ASSERT_TRUE(cache.reserve(1, 128).ok());
  const Status status = cache.reserve(2, 150);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kDoesNotFit);
  EXPECT_NE(status.error().message().find("needs 3 more pages of 64 positions for 150 positions, 2 of 4 pages are free"), std::string::npos)
      << status.error();
  EXPECT_EQ(cache.freePages(), 2);
  EXPECT_TRUE(cache.pages(2).empty());
  EXPECT_TRUE(cache.reserve(2, 128).ok());
}

TEST(KvCache, ReleaseAndShrinkGivePagesBack) {
  KvCache cache(4, 64, 256);
  ASSERT_TRUE(cache.reserve(1, 256).ok());
  cache.shrink(1, 65);
  EXPECT_EQ(cache.freePages(), 2);
  cache.release(1);
  cache.release(1);
  cache.release(99);
  EXPECT_EQ(cache.freePages(), 4);
  EXPECT_EQ(cache.numSequences(), 0);
}

TEST(KvCache, BeyondTheContextIsRefused) {
  KvCache cache(100, 64, 256);
  EXPECT_FALSE(cache.reserve(1, 257).ok());
  EXPECT_FALSE(cache.reserve(1, -1).ok());
}

TEST(PagePool, APageIsFreeWhenItsLastReferenceIsGone) {
  PagePool pool(2);
  const int32_t page = pool.take();
  pool.addReference(page);
  pool.release(page);
  EXPECT_EQ(pool.numFree(), 1);
  pool.release(page);
  EXPECT_EQ(pool.numFree(), 2);
}

}  // namespace
}  // namespace exo::runtime
