#include "executor/runtime/step_message.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

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

TEST(StepMessage, ControlsTravelWithTheirRows) {
  Batch batch;
  batch.add(std::vector<int32_t>{5, 6}, 0, std::vector<int32_t>{3}, WantRows::kLast, 2);
  const std::vector<codegen::RowControl> rows = {{.flags = codegen::RowControl::kStatistics},
                                                 {.seed = 1ull << 40, .position = 2, .edits_begin = 0, .edits_end = 2, .mask = 0, .inverse_temperature = 0.5f, .flags = codegen::RowControl::kDraw}};
  const std::vector<codegen::LogitEdit> edits = {{7, 1.5f, -1}, {99, 1, -std::numeric_limits<float>::infinity()}};
  const std::vector<uint32_t> masks = {1, 2, 3, 4};
  StepInput input = batch.input();
  input.controls = {rows, edits, masks};
  std::vector<std::byte> bytes;
  encode({.number = 3, .input = input}, bytes);
  EXPECT_LE(bytes.size(), maxStepMessageBytes(kLimits));
  const auto message = decode(bytes, kLimits);
  ASSERT_TRUE(message.ok()) << message.error();
  EXPECT_TRUE(std::ranges::equal(message->input.rows, std::vector<int32_t>{1, 1}));
  const codegen::RowControls& got = message->input.controls;
  ASSERT_EQ(got.rows.size(), 2u);
  EXPECT_EQ(std::memcmp(got.rows.data(), rows.data(), sizeof(rows[0]) * 2), 0);
  EXPECT_EQ(std::memcmp(got.edits.data(), edits.data(), sizeof(edits[0]) * 2), 0);
  EXPECT_TRUE(std::ranges::equal(got.masks, masks));
  EXPECT_TRUE(message->input.wantsStatistics());
}

TEST(StepMessage, ControlsOutOfRangeAreRefused) {
  Batch batch;
  batch.add(std::vector<int32_t>{5, 6}, 0, std::vector<int32_t>{3}, WantRows::kLast);
  const std::vector<codegen::LogitEdit> edits = {{7, 1, 1}}, broken = {{7, 0, 1}};
  const std::vector<uint32_t> masks = {1, 2, 3, 4};
  const auto refused = [&](std::vector<codegen::RowControl> rows, std::span<const codegen::LogitEdit> with_edits, size_t mask_words, const std::string& words) {
    StepInput input = batch.input();
    input.controls = {rows, with_edits, std::span(masks).first(mask_words)};
    std::vector<std::byte> bytes;
    encode({.input = input}, bytes);
    const auto message = decode(bytes, kLimits);
    ASSERT_FALSE(message.ok()) << words;
    EXPECT_NE(message.error().message().find(words), std::string::npos) << message.error();
  };
  refused({{}, {}}, {}, 0, "controls must be one per row, 1, got 2");
  refused({{.edits_begin = 0, .edits_end = 2}}, edits, 0, "edits are [0, 2) of 1");
  refused({{.mask = 1}}, {}, 4, "mask is 1 of 1");
  refused({{}}, {}, 3, "masks must have 4 words each, got 3");
  refused({{.inverse_temperature = 0}}, {}, 0, "inverse temperature must be above 0");
  refused({{.edits_begin = 0, .edits_end = 1}}, broken, 0, "the edit of token 7 is out of range");
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
  EXPECT_NE(message.error().message().find("version must be 2, got 9"), std::string::npos);
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
