#include "executor/serve/page_cache.h"

#include <gtest/gtest.h>

namespace exo::serve {
namespace {

// Pages of two tokens.
const std::vector<int32_t> kAb = {1, 2}, kCd = {3, 4}, kEf = {5, 6};

TEST(PageCache, AFreePageIsTakenOnceAndComesBack) {
  PageCache cache(2, 2);
  const auto first = cache.take(), second = cache.take();
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second);
  EXPECT_FALSE(cache.take());
  EXPECT_EQ(cache.used(), 2);
  cache.release(*first);
  EXPECT_EQ(cache.take(), first);
}

TEST(PageCache, APublishedPageIsFoundByItsTokensBehindItsParent) {
  PageCache cache(4, 2);
  const int32_t ab = cache.publish(*cache.take(), PageCache::kRoot, kAb);
  const int32_t cd = cache.publish(*cache.take(), ab, kCd);
  EXPECT_EQ(cache.find(PageCache::kRoot, kAb), ab);
  EXPECT_EQ(cache.find(ab, kCd), cd);
  EXPECT_FALSE(cache.find(PageCache::kRoot, kCd)) << "the same tokens elsewhere are another prefix";
  EXPECT_FALSE(cache.find(ab, kEf));
  EXPECT_EQ(cache.references(ab), 2);
}

TEST(PageCache, TheSameContentTwiceBecomesOnePage) {
  PageCache cache(3, 2);
  const int32_t ab = cache.publish(*cache.take(), PageCache::kRoot, kAb);
  EXPECT_EQ(cache.publish(*cache.take(), PageCache::kRoot, kAb), ab);
  EXPECT_EQ(cache.references(ab), 2);
  EXPECT_EQ(cache.used(), 1);
}

TEST(PageCache, UnusedPrefixesStayUntilTheirRoomIsNeededOldestFirst) {
  PageCache cache(2, 2);
  const int32_t ab = cache.publish(*cache.take(), PageCache::kRoot, kAb);
  const int32_t cd = cache.publish(*cache.take(), PageCache::kRoot, kCd);
  cache.release(ab);
  cache.release(cd);
  EXPECT_EQ(cache.unused(), 2);
  EXPECT_EQ(cache.available(), 2);
  ASSERT_EQ(cache.find(PageCache::kRoot, kAb), ab);   // used again: now the newer one
  cache.release(ab);
  EXPECT_EQ(cache.take(), cd);
  EXPECT_EQ(cache.evicted(), 1u);
  EXPECT_FALSE(cache.find(PageCache::kRoot, kCd));
  EXPECT_EQ(cache.find(PageCache::kRoot, kAb), ab);
}

TEST(PageCache, AParentOutlivesItsChildren) {
  PageCache cache(3, 2);
  const int32_t ab = cache.publish(*cache.take(), PageCache::kRoot, kAb);
  const int32_t cd = cache.publish(*cache.take(), ab, kCd);
  const int32_t ef = cache.publish(*cache.take(), cd, kEf);
  for (const int32_t page : {ef, cd, ab}) cache.release(page);
  EXPECT_EQ(cache.take(), ef);
  EXPECT_EQ(cache.take(), cd);
  EXPECT_EQ(cache.take(), ab);
  EXPECT_FALSE(cache.take());
}

TEST(PageCache, APageInUseIsNeverGivenAway) {
  PageCache cache(2, 2);
  const int32_t ab = cache.publish(*cache.take(), PageCache::kRoot, kAb);
  ASSERT_TRUE(cache.take());
  EXPECT_FALSE(cache.take()) << "one is in use and published, one in use";
  EXPECT_EQ(cache.references(ab), 1);
}

}  // namespace
}  // namespace exo::serve
