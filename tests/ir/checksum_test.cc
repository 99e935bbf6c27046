#include "ir/base/checksum.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace exo {
namespace {

uint64_t sumOf(const std::string& bytes) { return checksum(std::as_bytes(std::span(bytes))); }

TEST(Checksum, FindsEveryFlippedBitAndEveryCut) {
  std::string bytes;
  for (int i = 0; i < 203; ++i) bytes += static_cast<char>(i * 7);
  std::set<uint64_t> sums = {sumOf(bytes)};
  for (size_t at = 0; at < bytes.size(); ++at) {
    EXPECT_TRUE(sums.insert(sumOf(bytes.substr(0, at))).second) << "cut at " << at;
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = bytes;
      bad[at] = static_cast<char>(bad[at] ^ 1 << bit);
      EXPECT_TRUE(sums.insert(sumOf(bad)).second) << "bit " << bit << " of byte " << at;
    }
  }
}

// Signs in the same place of two words of one lane: what plain multiplication would let cancel.
TEST(Checksum, TwoFlippedHighBitsDoNotCancel) {
  std::string bytes(256, '\0'), bad = bytes;
  bad[7] = bad[7 + 64] = '\x80';
  EXPECT_NE(sumOf(bytes), sumOf(bad));
}

TEST(Checksum, CountsZeros) {
  EXPECT_NE(sumOf(std::string(64, '\0')), sumOf(std::string(65, '\0')));
  EXPECT_NE(sumOf(std::string(64, '\0')), sumOf(std::string(128, '\0')));
}

// Files on disk carry it: another value makes them all unreadable, so this must be meant.
TEST(Checksum, IsWhatItWas) {
  EXPECT_EQ(sumOf(""), 0xe364bc0f986b9a83u);
  EXPECT_EQ(sumOf("packed weights"), 0xd9776317f682fe49u);
  EXPECT_EQ(sumOf(std::string(200, 'x')), 0xbe3ed60b30675761u);
}

}  // namespace
}  // namespace exo
