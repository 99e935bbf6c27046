#include "executor/serve/answer_text.h"

#include <gtest/gtest.h>

#include "frontend/tokenizer/utf8.h"

namespace exo::serve {
namespace {

class AnswerTextTest : public ::testing::Test {
 protected:
  static const tokenizer::Tokenizer& tokenizer() {
    static const tokenizer::Tokenizer loaded = [] {
      auto result = tokenizer::Tokenizer::load(std::string(EXO_TEST_DATA) + "/tokenizer_llama3");
      EXPECT_TRUE(result.ok()) << result.error();
      return std::move(result).value();
    }();
    return loaded;
  }
  /// One token a byte: the ids of the byte's letters.
  static std::vector<int32_t> byteTokens(const std::string& text) {
    std::vector<int32_t> ids;
    for (const char c : text) {
      for (int32_t id = 0; id < tokenizer().vocabSize(); ++id) {
        if (tokenizer().tokenBytes(id) == std::string(1, c)) {
          ids.push_back(id);
          break;
        }
      }
    }
    EXPECT_EQ(ids.size(), text.size());
    return ids;
  }
  struct Told {
    std::vector<CompletionChunk> chunks;
    std::string text;
    std::string tokens;   // their bytes
    std::optional<std::string> stop;
  };
  static void take(Told& told, CompletionChunk chunk) {
    EXPECT_FALSE(tokenizer::firstInvalidUtf8(chunk.text)) << "a chunk is not valid UTF-8";
    told.text += chunk.text;
    for (const GeneratedToken& token : chunk.tokens) told.tokens += token.token.bytes;
    told.chunks.push_back(std::move(chunk));
  }
  static Told tell(const std::vector<int32_t>& ids, std::vector<std::string> stops) {
    AnswerText text(&tokenizer(), tokenizer::SkipSpecial::kYes, std::move(stops));
    Told told;
    for (const int32_t id : ids) {
      take(told, text.push({.token = {id, tokenizer().tokenBytes(id), 0}, .alternatives = {}}));
      if (text.stopString()) break;
    }
    take(told, text.finish());
    told.stop = text.stopString();
    return told;
  }
};

TEST_F(AnswerTextTest, TextComesAtOnceWhereNothingIsWaitedFor) {
  const Told told = tell(byteTokens("abc"), {});
  ASSERT_GE(told.chunks.size(), 3u);
  EXPECT_EQ(told.chunks[0].text, "a");
  EXPECT_EQ(told.chunks[0].tokens.size(), 1u);
  EXPECT_EQ(told.text, "abc");
  EXPECT_FALSE(told.stop);
}

TEST_F(AnswerTextTest, CharactersComeWholeWithAllTheirTokens) {
  const Told told = tell(byteTokens("aé\xF0\x9F\x98\x80"), {});
  EXPECT_EQ(told.text, "aé😀");
  EXPECT_EQ(told.tokens, told.text);
  for (const CompletionChunk& chunk : told.chunks)
    if (chunk.text == "é") {
      EXPECT_EQ(chunk.tokens.size(), 2u);
    }
  EXPECT_EQ(tell(byteTokens("a\xF0\x9F"), {}).text, "a\uFFFD");
}

TEST_F(AnswerTextTest, NothingOfAStopStringEverComes) {
  for (const std::string& answer : {std::string("one STOP two"), std::string("one STSTOP two"), std::string("one S STO STOP")}) {
    const Told told = tell(byteTokens(answer), {"STOP"});
    EXPECT_EQ(told.text, answer.substr(0, answer.find("STOP")));
    EXPECT_EQ(told.tokens, told.text) << "tokens of the stop string do not come either";
    EXPECT_EQ(told.stop, "STOP");
    for (const CompletionChunk& chunk : told.chunks) EXPECT_NE(chunk.text, "S");
  }
}

TEST_F(AnswerTextTest, WhatOnlyLookedLikeAStopStringComesLater) {
  const Told told = tell(byteTokens("a STO b"), {"STOP"});
  EXPECT_EQ(told.text, "a STO b");
  EXPECT_EQ(told.tokens, "a STO b");
  EXPECT_EQ(told.chunks[2].text, "");
  EXPECT_EQ(told.chunks[5].text, "STO ") << "with the character that decides it";
  EXPECT_EQ(tell(byteTokens("a STO"), {"STOP"}).text, "a STO") << "at the end too";
}

TEST_F(AnswerTextTest, TheStopStringThatBeginsFirstCounts) {
  EXPECT_EQ(tell(byteTokens("xabcd"), {"d", "bc"}).stop, "bc");
  EXPECT_EQ(tell(byteTokens("xabcd"), {"bc", "abcd", "d"}).text, "xa") << "bc is whole before abcd is";
  EXPECT_EQ(tell(byteTokens("über"), {"ü"}).text, "");
  EXPECT_EQ(tell(byteTokens("a\n\nb"), {"\n\n"}).text, "a");
}

TEST_F(AnswerTextTest, ATokenThatReachesIntoAStopStringComesWithWhatIsBeforeIt) {
  auto ids = tokenizer().encode("hello world", tokenizer::Specials::kAsText, tokenizer::AddSpecial::kNo);
  ASSERT_TRUE(ids.ok());
  const Told told = tell(*ids, {"lo w"});
  EXPECT_EQ(told.text, "hel");
  EXPECT_TRUE(told.tokens.starts_with("hel"));
}

TEST_F(AnswerTextTest, WithoutATokenizerThereAreTokensAlone) {
  AnswerText text(nullptr, tokenizer::SkipSpecial::kYes, {"x"});
  const CompletionChunk chunk = text.push({.token = {5, "", 0}, .alternatives = {}});
  EXPECT_EQ(chunk.tokens.size(), 1u);
  EXPECT_EQ(chunk.text, "");
}

}  // namespace
}  // namespace exo::serve
