// Each component of the file format by itself, on a tokenizer of ASCII letters: token "a" has the id 'a'.
#include <chrono>

#include "tests/frontend/tokenizer/test_files.h"

namespace exo::tokenizer {
namespace {

using namespace testing;
using nlohmann::json;
using Ids = std::vector<int32_t>;

/// The words a pre-tokenizer makes of `text`: with ignore_merges and every word in the vocabulary, a word is one id.
std::vector<std::string> words(const char* pre_tokenizer, const std::string& text, const std::vector<std::string>& vocab) {
  auto file = tinyTokenizer();
  file["pre_tokenizer"] = json::parse(pre_tokenizer);
  file["model"]["ignore_merges"] = true;
  int id = 2000;
  for (const auto& word : vocab) {
    if (!file["model"]["vocab"].contains(word)) file["model"]["vocab"][word] = id++;
  }
  const Tokenizer tokenizer = mustParse(file);
  std::vector<std::string> out;
  for (const int32_t token : mustEncode(tokenizer, text)) out.push_back(*tokenizer.idToToken(token));
  return out;
}
using Strings = std::vector<std::string>;
/// A pre-tokenizer made what `expected` says, if encoding with exactly those words gives them back.
void expectWords(const char* pre_tokenizer, const std::string& text, const Strings& expected) {
  EXPECT_EQ(words(pre_tokenizer, text, expected), expected) << pre_tokenizer;
}

TEST(PreTokenizer, SplitBehaviors) {
  const auto split = [](const std::string& behavior, const std::string& invert) {
    return R"({"type":"Split","pattern":{"String":"-"},"behavior":")" + behavior + R"(","invert":)" + invert + "}";
  };
  const std::string text = "the-final--countdown";
  expectWords(split("Removed", "false").c_str(), text, {"the", "final", "countdown"});
  expectWords(split("Isolated", "false").c_str(), text, {"the", "-", "final", "-", "-", "countdown"});
  expectWords(split("MergedWithPrevious", "false").c_str(), text, {"the-", "final-", "-", "countdown"});
  expectWords(split("MergedWithNext", "false").c_str(), text, {"the", "-final", "-", "-countdown"});
  expectWords(split("Contiguous", "false").c_str(), text, {"the", "-", "final", "--", "countdown"});
  expectWords(split("Removed", "true").c_str(), text, {"-", "-", "-"});
}

TEST(PreTokenizer, DigitsPunctuationWhitespace) {
  expectWords(R"({"type":"Digits","individual_digits":true})", "ab12c", {"ab", "1", "2", "c"});
  expectWords(R"({"type":"Digits","individual_digits":false})", "ab12c", {"ab", "12", "c"});
  expectWords(R"({"type":"Punctuation"})", "a!?b$", {"a", "!", "?", "b", "$"});
  expectWords(R"({"type":"WhitespaceSplit"})", "ab  c\nd", {"ab", "c", "d"});
  expectWords(R"({"type":"Whitespace"})", "ab, c!!", {"ab", ",", "c", "!!"});
}

TEST(PreTokenizer, MetaspacePrependSchemes) {
  const auto metaspace = [](const std::string& rest) { return R"({"type":"Metaspace","replacement":"▁")" + rest + "}"; };
  expectWords(metaspace(R"(,"prepend_scheme":"always")").c_str(), "ab cd", {"▁ab", "▁cd"});
  expectWords(metaspace(R"(,"prepend_scheme":"never")").c_str(), "ab cd", {"ab", "▁cd"});
  expectWords(metaspace(R"(,"prepend_scheme":"first","split":false)").c_str(), "ab cd", {"▁ab▁cd"});
  expectWords(metaspace(R"(,"add_prefix_space":false)").c_str(), "ab", {"ab"});
  expectWords(metaspace("").c_str(), " ab", {"▁ab"});  // there is one already
}

TEST(PreTokenizer, MetaspaceFirstIsTheFirstOfTheText) {
  auto file = tinyTokenizer();
  file["pre_tokenizer"] = json::parse(R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"first"})");
  file["added_tokens"].push_back(addedToken(500, "<s>"));
  const Tokenizer tokenizer = mustParse(file);
  EXPECT_EQ(mustEncode(tokenizer, "a<s>b"), (Ids{128, 'a', 500, 'b'}));
  EXPECT_EQ(mustEncode(tokenizer, "<s>b"), (Ids{500, 'b'}));
}

TEST(PreTokenizer, ByteLevelWithItsOwnExpressionAndPrefixSpace) {
  expectWords(R"({"type":"ByteLevel","add_prefix_space":true,"use_regex":true})", "it's  12x é",
              {"Ġit", "'s", "Ġ", "Ġ12", "x", "ĠÃ©"});
}

Ids normalized(const char* normalizer, const std::string& text) {
  auto file = tinyTokenizer();
  file["normalizer"] = json::parse(normalizer);
  file["model"]["vocab"]["é"] = 300;
  file["model"]["vocab"]["\u0301"] = 301;
  return mustEncode(mustParse(file), text);
}

TEST(Normalizer, EachKind) {
  EXPECT_EQ(normalized(R"({"type":"NFC"})", "e\u0301"), Ids{300});
  EXPECT_EQ(normalized(R"({"type":"NFD"})", "é"), (Ids{'e', 301}));
  EXPECT_EQ(normalized(R"({"type":"NFKC"})", "ﬁ"), (Ids{'f', 'i'}));
  EXPECT_EQ(normalized(R"({"type":"NFKD"})", "é²"), (Ids{'e', 301, '2'}));
  EXPECT_EQ(normalized(R"({"type":"Lowercase"})", "AÉ"), (Ids{'a', 300}));
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":true})", " \u3000a b\n"), (Ids{'a', ' ', 'b'}));
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":false,"strip_right":true})", " a "), (Ids{' ', 'a'}));
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":true})", "  "), Ids{});
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"x"})", "a"), (Ids{'x', 'a'}));
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"x"})", ""), Ids{});
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"Regex":" +"},"content":"_"})", "a   b c"), (Ids{'a', '_', 'b', '_', 'c'}));
}

TEST(AddedTokens, LongestOfTheLeftmost) {
  auto file = tinyTokenizer();
  file["added_tokens"] = {addedToken(500, "<s"), addedToken(501, "<s>"), addedToken(502, "s>x")};
  const Tokenizer tokenizer = mustParse(file);
  EXPECT_EQ(mustEncode(tokenizer, "a<s>x"), (Ids{'a', 501, 'x'}));
  EXPECT_EQ(mustEncode(tokenizer, "<s!s>x"), (Ids{500, '!', 502}));
}

TEST(AddedTokens, AsTextOnlyTheSpecialOnesAreText) {
  auto file = tinyTokenizer();
  file["added_tokens"] = {addedToken(500, "<s>"), addedToken(501, "<t>")};
  file["added_tokens"][1]["special"] = false;
  const Tokenizer tokenizer = mustParse(file);
  EXPECT_EQ(mustEncode(tokenizer, "<s><t>"), (Ids{500, 501}));
  EXPECT_EQ(mustEncode(tokenizer, "<s><t>", AddSpecial::kNo, Specials::kAsText), (Ids{'<', 's', '>', 501}));
  EXPECT_TRUE(tokenizer.isSpecial(500));
  EXPECT_FALSE(tokenizer.isSpecial(501));
}

TEST(AddedTokens, StripsSpacesAndWantsWholeWords) {
  auto file = tinyTokenizer();
  file["added_tokens"] = {addedToken(500, "<l>"), addedToken(501, "<r>"), addedToken(502, "word")};
  file["added_tokens"][0]["lstrip"] = true;
  file["added_tokens"][1]["rstrip"] = true;
  file["added_tokens"][2]["single_word"] = true;
  const Tokenizer tokenizer = mustParse(file);
  EXPECT_EQ(mustEncode(tokenizer, "a \n<l> b"), (Ids{'a', 500, ' ', 'b'}));
  EXPECT_EQ(mustEncode(tokenizer, "a <r>\u3000 b"), (Ids{'a', ' ', 501, 'b'}));
  EXPECT_EQ(mustEncode(tokenizer, "<r>  <l>"), (Ids{501, 500}));  // the spaces are taken once
  EXPECT_EQ(mustEncode(tokenizer, "word!"), (Ids{502, '!'}));
  EXPECT_EQ(mustEncode(tokenizer, "words"), (Ids{'w', 'o', 'r', 'd', 's'}));
  EXPECT_EQ(mustEncode(tokenizer, "_word"), (Ids{'_', 'w', 'o', 'r', 'd'}));
}

TEST(AddedTokens, NormalizedOnesAreFoundInTheNormalizedText) {
  auto file = tinyTokenizer();
  file["normalizer"] = {{"type", "Lowercase"}};
  file["added_tokens"] = {addedToken(500, "<Raw>"), addedToken(501, "<Norm>")};
  file["added_tokens"][1]["normalized"] = true;
  const Tokenizer tokenizer = mustParse(file);
  EXPECT_EQ(mustEncode(tokenizer, "<NORM><Raw>"), (Ids{501, 500}));
  EXPECT_EQ(mustEncode(tokenizer, "<raw>"), (Ids{'<', 'r', 'a', 'w', '>'}));
}

TEST(BpeModel, LowestRankFirstLeftmostOnATie) {
  const Tokenizer tokenizer = mustParse(tinyTokenizer({"b c", "a b", "a a", "bc d"}));  // bc 129, ab 130, aa 131, bcd 132
  EXPECT_EQ(mustEncode(tokenizer, "abcd"), (Ids{'a', 132}));
  EXPECT_EQ(mustEncode(tokenizer, "ab"), Ids{130});
  EXPECT_EQ(mustEncode(tokenizer, "aaa"), (Ids{131, 'a'}));
}

TEST(BpeModel, MergesAsListsAndWithVersionLine) {
  auto file = tinyTokenizer({"a b"});
  file["model"]["merges"] = {"#version: 0.2", json::array({"a", "b"})};
  EXPECT_EQ(mustEncode(mustParse(file), "ab"), Ids{129});
}

TEST(BpeModel, UnknownCharacters) {
  auto file = tinyTokenizer();
  EXPECT_EQ(mustEncode(mustParse(file), "aéb"), (Ids{'a', 'b'}));  // nothing to write for it
  file["model"]["vocab"]["<unk>"] = 400;
  file["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(mustEncode(mustParse(file), "aééb"), (Ids{'a', 400, 400, 'b'}));
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(mustEncode(mustParse(file), "aééb"), (Ids{'a', 400, 'b'}));
}

TEST(BpeModel, AMegabyteWordIsNotQuadratic) {
  const Tokenizer tokenizer = mustParse(tinyTokenizer({"a a", "aa aa", "aaaa aaaa"}));
  const auto begin = std::chrono::steady_clock::now();
  const Ids ids = mustEncode(tokenizer, std::string(1 << 20, 'a'));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(ids, Ids((1 << 20) / 8, 131));
  EXPECT_LT(seconds.count(), 20);  // quadratic would be hours
}

TEST(TokenizerConfig, TokensAndFlags) {
  auto file = tinyTokenizer();
  file["added_tokens"] = {addedToken(500, "<s>"), addedToken(501, "</s>")};
  const Tokenizer tokenizer = mustParse(file, R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>",
      "add_bos_token": true, "chat_template": "x", "added_tokens_decoder": {"502": {"content": "<pad>", "special": true}}})");
  EXPECT_EQ(tokenizer.bosId(), 500);
  EXPECT_EQ(tokenizer.eosIds(), Ids{501});
  EXPECT_EQ(tokenizer.addBosToken(), true);
  EXPECT_EQ(tokenizer.tokenToId("<pad>"), 502);
  EXPECT_EQ(tokenizer.vocabSize(), 503);
  EXPECT_EQ(mustEncode(tokenizer, "a<pad>", AddSpecial::kYes), (Ids{500, 'a', 502}));
}

TEST(TokenizerConfig, TheTemplateOfTheFileWins) {
  auto file = tinyTokenizer();
  file["added_tokens"] = {addedToken(500, "<s>")};
  file["post_processor"] = json::parse(
      R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}})");
  EXPECT_EQ(mustEncode(mustParse(file, R"({"bos_token": "<s>", "add_bos_token": true})"), "a", AddSpecial::kYes), Ids{'a'});
}

TEST(OwnTokenizers, BosAndEos) {
  const auto llama = Tokenizer::load(ownTokenizer("llama3"));
  ASSERT_TRUE(llama.ok()) << llama.error().message();
  EXPECT_EQ(llama->bosId(), 500);
  EXPECT_EQ(llama->eosIds(), Ids{502});
  EXPECT_EQ(llama->vocabSize(), 506);
  EXPECT_EQ(llama->idToToken(500), "<|begin_of_text|>");
  EXPECT_EQ(llama->idToToken(506), std::nullopt);
  const auto qwen = Tokenizer::load(ownTokenizer("qwen"));
  ASSERT_TRUE(qwen.ok());
  EXPECT_EQ(qwen->bosId(), std::nullopt);
}

}  // namespace
}  // namespace exo::tokenizer
