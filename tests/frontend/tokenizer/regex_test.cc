// The rewriting from Oniguruma to PCRE2, and what matching does at the edges.
#include "frontend/tokenizer/regex.h"

#include <gtest/gtest.h>

namespace exo::tokenizer {
namespace {

Deadline soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(2); }

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const auto regex = Regex::compile(pattern);
  if (!regex.ok()) return {"does not compile: " + regex.error().message()};
  const auto ranges = regex->findAll(text, soon());
  if (!ranges.ok()) return {"fails: " + ranges.error().message()};
  std::vector<std::string> out;
  for (const ByteRange& range : *ranges) out.push_back(text.substr(range.begin, range.end - range.begin));
  return out;
}
using Strings = std::vector<std::string>;

TEST(RegexDialect, SpacesAreWhiteSpaceOnly) {
  // U+180E is a space for PCRE2's \s, not since Unicode 6.3; U+0085 and U+3000 are.
  EXPECT_EQ(matches(R"(\s+)", "a\u180Eb\u0085\u3000c"), Strings{"\u0085\u3000"});
  EXPECT_EQ(matches(R"([^\s]+)", "a\u180Eb c"), (Strings{"a\u180Eb", "c"}));
}

TEST(RegexDialect, WordsHaveMarksAndConnectors) {
  EXPECT_EQ(matches(R"(\w+)", "नि_1-x"), (Strings{"नि_1", "x"}));
  EXPECT_EQ(matches(R"(\W)", "नि-"), Strings{"-"});
  EXPECT_EQ(matches(R"(\b\w)", "ab नि"), (Strings{"a", "न"}));
}

TEST(RegexDialect, IntersectionsOfSets) {
  EXPECT_EQ(matches(R"([\p{L}&&[^\p{Han}]]+)", "ab漢字cd"), (Strings{"ab", "cd"}));
  EXPECT_EQ(matches(R"([a-z&&[aeiou]])", "brave"), (Strings{"a", "e"}));
}

TEST(RegexDialect, HexDigitsCodePointsAndLines) {
  EXPECT_EQ(matches(R"(\h+)", "xBEEFy"), Strings{"BEEF"});
  EXPECT_EQ(matches(R"(\u65e5)", "日本"), Strings{"日"});
  EXPECT_EQ(matches(R"(\x{65e5}|\x41)", "A日"), (Strings{"A", "日"}));
  EXPECT_EQ(matches("^a$", "a\na"), (Strings{"a", "a"}));  // Ruby's anchors are those of lines
  EXPECT_EQ(matches("(?m:a.b)", "a\nb"), Strings{"a\nb"});
  EXPECT_EQ(matches("a{,2}b", "aaab"), Strings{"aab"});
}

TEST(RegexDialect, CaseFoldingIsUnicode) {
  EXPECT_EQ(matches("(?i:'s)", "it'S 'ſ"), (Strings{"'S", "'ſ"}));
}

TEST(RegexDialect, RefusesWhatTheTwoReadDifferently) {
  for (const char* pattern : {"(?x: a)", "(*ACCEPT)a", "[a[bc]]", "[[:alpha:]]", "a{1,3}+", R"(\R)", R"(\X)", R"(\K)", "[^a&&[b]]",
                              R"(\p{Ugaritic})", "(?<n>a)", "[]a]", R"(\xE9)", R"(\G)", R"(\Q..\E)", "[a&&b]"}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.error().code(), ErrorCode::kUnsupported) << pattern;
    EXPECT_NE(regex.error().message().find(pattern), std::string::npos) << regex.error().message();
  }
}

TEST(RegexDialect, BrokenExpressionsAreErrors) {
  for (const std::string& pattern : {std::string("(a"), std::string("a)"), std::string("[a"), std::string("\\"), std::string("*a"),
                                     std::string(R"(\p{)"), std::string(R"(\p{Zz})"), std::string(20'000, 'a')}) {
    EXPECT_FALSE(Regex::compile(pattern).ok()) << pattern.substr(0, 20);
  }
}

TEST(Regex, EmptyMatchesAdvanceByCharacters) {
  const auto regex = Regex::compile("x*");
  ASSERT_TRUE(regex.ok());
  const auto ranges = regex->findAll("éxx日", soon());
  ASSERT_TRUE(ranges.ok());
  // At 0, before the x's would be byte 2: "xx" (2–4); none directly behind it at 4; at the end 7.
  ASSERT_EQ(ranges->size(), 3u);
  EXPECT_EQ((*ranges)[0].begin, 0u);
  EXPECT_EQ((*ranges)[1].begin, 2u);
  EXPECT_EQ((*ranges)[1].end, 4u);
  EXPECT_EQ((*ranges)[2].begin, 7u);
}

TEST(Regex, FindsMatchesFarBehindOneSearchStep) {
  const std::string text = std::string(100'000, 'a') + "é1" + std::string(50'000, 'b') + "2";
  EXPECT_EQ(matches(R"(\p{N})", text), (Strings{"1", "2"}));
}

// [bc] at the end and not a letter: PCRE2 looks for a letter that must be there first, and is done when there is none.
TEST(Regex, CatastrophicExpressionsEndInAnError) {
  for (const char* pattern : {"(a+)+[bc]", "(a|aa)+[bc]", "(a*)*[bc]", "(?:a)+?[bc]", "(?=(a+)+[bc])"}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_TRUE(regex.ok()) << regex.error().message();
    const std::string text(1'000'000, 'a');
    const auto begin = std::chrono::steady_clock::now();
    const auto ranges = regex->findAll(text, begin + std::chrono::milliseconds(300));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    ASSERT_FALSE(ranges.ok()) << pattern;
    EXPECT_EQ(ranges.error().code(), ErrorCode::kTimeout);
    EXPECT_LT(seconds.count(), 60) << pattern;  // some seconds on an idle machine
    std::cout << pattern << ": " << seconds.count() << " s\n";
  }
}

}  // namespace
}  // namespace exo::tokenizer
