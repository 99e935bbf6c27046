#include "executor/runtime/step_message.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "executor/runtime/batch.h"

namespace exo::runtime {
namespace {

constexpr StepLimits kLimits{.max_tokens = 8, .max_rows = 8, .max_context = 128, .page_tokens = 64, .num_pages = 4, .vocab_size = 100};

std::vector<std::byte> someMessage() {
  Batch batch;
  batch.add(std::vector<int32_t>{5, 6, 7}, 62, std::vector<int32_t>{3, 1}, WantRows::kLast);
  batch.add(std::vector<int32_t>{9}, 0, std::vector<int32_t>{2}, WantRows::kAll);
  std::vector<std::byte> bytes;
  encode({.gather = GatherLogits::kToRankZero, .number = 77, .input = batch.input()}, bytes);
  return bytes;
}

TEST(StepMessage, RoundTrips) {
  const auto bytes = someMessage();
  EXPECT_LE(bytes.size(), maxStepMessageBytes(kLimits));
  auto message = decode(bytes, kLimits);
  ASSERT_TRUE(message.ok()) << message.error();
  EXPECT_EQ(message->number, 77u);
  EXPECT_EQ(message->gather, GatherLogits::kToRankZero);
  const auto equal = [](std::span<const int32_t> got, std::vector<int32_t> expected) { return std::ranges::equal(got, expected); };
  EXPECT_TRUE(equal(message->input.tokens, {5, 6, 7, 9}));
  EXPECT_TRUE(equal(message->input.positions, {62, 63, 64, 0}));
  EXPECT_TRUE(equal(message->input.sequence, {0, 0, 0, 1}));
  EXPECT_TRUE(equal(message->input.sequence_begin, {0, 3, 4}));
  EXPECT_TRUE(equal(message->input.page_table, {3, 1, 2, 0}));
  EXPECT_TRUE(equal(message->input.rows, {2, 3}));
}

TEST(StepMessage, StopRoundTrips) {
  std::vector<std::byte> bytes;
  encode({.kind = StepKind::kStop, .number = 3}, bytes);
  auto message = decode(bytes, kLimits);
  ASSERT_TRUE(message.ok());
  EXPECT_EQ(message->kind, StepKind::kStop);
}

TEST(StepMessage, AnotherVersionIsNamed) {
  auto bytes = someMessage();
  bytes[4] = std::byte{9};
  auto message = decode(bytes, kLimits);
  ASSERT_FALSE(message.ok());
  EXPECT_NE(message.error().message().find("version must be 1, got 9"), std::string::npos);
}

/// Any cut and any changed byte is refused or still a valid step: what decodes has passed validate().
TEST(StepMessage, DamageIsNeverAccepted) {
  const auto sound = someMessage();
  for (size_t size = 0; size < sound.size(); ++size) {
    const std::vector<std::byte> cut(sound.begin(), sound.begin() + static_cast<int64_t>(size));
    EXPECT_FALSE(decode(cut, kLimits).ok()) << size;
  }
  for (size_t at = 0; at < sound.size(); ++at)
    for (const int value : {0, 1, 2, 0x7f, 0x80, 0xff}) {
      auto bytes = sound;
      bytes[at] = static_cast<std::byte>(value);
      auto message = decode(bytes, kLimits);
      if (message.ok() && message->kind == StepKind::kStep) {
        EXPECT_TRUE(validate(message->input, kLimits).ok());
      }
    }
}

}  // namespace
}  // namespace exo::runtime
