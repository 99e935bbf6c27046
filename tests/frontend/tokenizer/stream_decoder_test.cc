// StreamDecoder: whole characters only, and together exactly what decode() gives.
#include "frontend/tokenizer/utf8.h"
#include "tests/frontend/tokenizer/test_files.h"

namespace exo::tokenizer {
namespace {

using namespace testing;

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, SkipSpecial skip = SkipSpecial::kNo) {
  StreamDecoder stream(tokenizer, skip);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = stream.push(id);
    EXPECT_FALSE(firstInvalidUtf8(piece)) << "a piece is not valid UTF-8";
    text += piece;
  }
  const std::string last = stream.finish();
  EXPECT_FALSE(firstInvalidUtf8(last));
  return text + last;
}

/// Ids of single bytes in our byte-level tokenizers: the id of the byte's letter.
std::vector<int32_t> byteIds(const Tokenizer& tokenizer, const std::vector<const char*>& letters) {
  std::vector<int32_t> ids;
  for (const char* letter : letters) ids.push_back(tokenizer.tokenToId(letter).value());
  return ids;
}

TEST(StreamDecoder, HoldsBackIncompleteCharacters) {
  const auto tokenizer = Tokenizer::load(ownTokenizer("llama3"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message();
  // é is C3 A9: letters Ã and ©, which stand for themselves in the byte alphabet.
  const auto ids = byteIds(*tokenizer, {"Ã", "©"});
  StreamDecoder stream(*tokenizer, SkipSpecial::kNo);
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.push(ids[1]), "é");
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamDecoder, WhatNeverCompletesIsOneReplacementCharacter) {
  const auto tokenizer = Tokenizer::load(ownTokenizer("llama3"));
  ASSERT_TRUE(tokenizer.ok());
  // F0 9F 98 is three quarters of an emoji; F0 = ð, 9F = U+0141 (Ł), 98 = U+013A (ĺ).
  const auto ids = byteIds(*tokenizer, {"ð", "Ł", "ĺ"});
  EXPECT_EQ(streamed(*tokenizer, ids), "\uFFFD");
  // The same three bytes, then "a": one maximal subpart, then the letter.
  auto with_a = ids;
  with_a.push_back(*tokenizer->tokenToId("a"));
  EXPECT_EQ(streamed(*tokenizer, with_a), "\uFFFDa");
  // A lone continuation byte and an impossible one (FF = ÿ): one U+FFFD each.
  EXPECT_EQ(streamed(*tokenizer, byteIds(*tokenizer, {"ĺ", "ÿ"})), "\uFFFD\uFFFD");
}

TEST(StreamDecoder, EqualsDecodeForEveryPrefixOfIds) {
  const auto tokenizer = Tokenizer::load(ownTokenizer("qwen"));
  ASSERT_TRUE(tokenizer.ok());
  const auto ids = mustEncode(*tokenizer, "naïve café 日本語 👩‍👧 Привет<|im_end|> x");
  for (size_t n = 0; n <= ids.size(); ++n) {
    const std::vector<int32_t> prefix(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
    for (const SkipSpecial skip : {SkipSpecial::kNo, SkipSpecial::kYes}) {
      EXPECT_EQ(streamed(*tokenizer, prefix, skip), tokenizer->decode(prefix, skip));
    }
  }
}

TEST(StreamDecoder, SkipsSpecialAndUnknownIds) {
  const auto tokenizer = Tokenizer::load(ownTokenizer("qwen"));
  ASSERT_TRUE(tokenizer.ok());
  auto ids = mustEncode(*tokenizer, "a<|im_end|>b");
  ids.push_back(511);        // padding of the model's vocabulary
  ids.push_back(-1);
  ids.push_back(INT32_MAX);
  EXPECT_EQ(tokenizer->decode(ids, SkipSpecial::kYes), "ab");
  EXPECT_EQ(tokenizer->decode(ids, SkipSpecial::kNo), "a<|im_end|>b");
}

nlohmann::json spmLike() {
  auto json = tinyTokenizer();
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    json["model"]["vocab"][name] = 1000 + byte;
  }
  json["model"]["byte_fallback"] = true;
  json["normalizer"] = nlohmann::json::parse(R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
      {"type":"Replace","pattern":{"String":" "},"content":"▁"}]})");
  json["decoder"] = nlohmann::json::parse(R"({"type":"Sequence","decoders":[
      {"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
      {"type":"Strip","content":" ","start":1,"stop":0}]})");
  return json;
}

TEST(StreamDecoder, ByteFallbackRunsWaitForTheirEnd) {
  const Tokenizer tokenizer = mustParse(spmLike());
  // "▁" 'é' → ▁, C3, A9, then 'x'.
  EXPECT_EQ(mustEncode(tokenizer, "éx"), (std::vector<int32_t>{128, 1000 + 0xC3, 1000 + 0xA9, 'x'}));
  StreamDecoder stream(tokenizer, SkipSpecial::kNo);
  EXPECT_EQ(stream.push(128), "");  // the leading space is stripped
  EXPECT_EQ(stream.push(1000 + 0xC3), "");
  EXPECT_EQ(stream.push(1000 + 0xA9), "");
  EXPECT_EQ(stream.push('x'), "éx");
  EXPECT_EQ(stream.push(128), " ");
  EXPECT_EQ(stream.push(1000 + 0xC3), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  // A run that is not valid as a whole: one U+FFFD per byte, the valid é included.
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1000 + 0xC3, 1000 + 0xA9, 1000 + 0xFF, 'x'}, SkipSpecial::kNo),
            "\uFFFD\uFFFD\uFFFDx");
}

TEST(StreamDecoder, StripsBothEndsOfTheFusedText) {
  auto json = tinyTokenizer();
  json["decoder"] = nlohmann::json::parse(
      R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":2}]})");
  const Tokenizer tokenizer = mustParse(json);
  const auto decode = [&](std::string_view text) { return tokenizer.decode(mustEncode(tokenizer, text), SkipSpecial::kNo); };
  EXPECT_EQ(decode("  a   b   "), " a   b ");  // one of two at the begin, two of three at the end
  EXPECT_EQ(decode("a "), "a");
  EXPECT_EQ(decode(" "), "");
}

TEST(StreamDecoder, MetaspaceDropsTheFirstMark) {
  auto json = tinyTokenizer();
  json["decoder"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}};
  const std::vector<int32_t> ids = {128, 'a', 128, 'b'};
  EXPECT_EQ(mustParse(json).decode(ids, SkipSpecial::kNo), "a b");
  json["decoder"]["prepend_scheme"] = "never";
  EXPECT_EQ(mustParse(json).decode(ids, SkipSpecial::kNo), " a b");
}

TEST(StreamDecoder, WithoutDecoderTokensAreJoinedBySpaces) {
  auto json = tinyTokenizer({"a b"});
  json["decoder"] = nullptr;
  EXPECT_EQ(mustParse(json).decode(std::vector<int32_t>{129, 'c'}, SkipSpecial::kNo), "ab c");
}

}  // namespace
}  // namespace exo::tokenizer
