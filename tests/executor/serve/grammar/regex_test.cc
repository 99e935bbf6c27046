// Regular expressions as grammars.
#include "executor/serve/grammar/regex.h"

#include <regex>

#include "executor/serve/grammar/json_grammar.h"
#include "tests/executor/serve/grammar/matching.h"

namespace exo::serve {
namespace {

/// All texts of up to four letters of an alphabet.
std::vector<std::string> texts(const std::string& alphabet) {
  std::vector<std::string> all = {""};
  for (size_t begin = 0, length = 1; length <= 4; ++length) {
    const size_t end = all.size();
    for (; begin < end; ++begin) {
      for (const char c : alphabet) all.push_back(all[begin] + c);
    }
  }
  return all;
}

TEST(Regex, FindsWhatTheStandardLibraryFinds) {
  for (const char* pattern : {"a", "^a", "a$", "^a$", "^a|b$", "ab*c", "^(ab|c)+$", "^a{2,3}$", "^a{2}$", "^a{2,}$", "^(a|b)?c$", "^[ab]c$", "^[^ab]$", "^.b$", "^(?:a|b)*c+?$", "^\\w\\d$",
                              "^[a-c1]{3}$", "^$", "", "^(a*)*$", "^a\\.b$", "^[\\d-]+$"}) {
    Matcher matcher(Grammar{{*regexExpression(pattern)}});
    const std::regex reference(pattern, std::regex::ECMAScript);
    for (const std::string& text : texts("abc1.-")) EXPECT_EQ(matcher.matches(text), std::regex_search(text, reference)) << pattern << " on \"" << text << '"';
  }
}

TEST(Regex, EscapesAndUnicode) {
  Matcher matcher(regexGrammar("\\u00e4[\\u{1F600}-\\u{1F602}]\\x41\\t\\\\ö"));
  EXPECT_TRUE(matcher.matches("ä\xF0\x9F\x98\x81" "A\t\\ö"));
  EXPECT_FALSE(matcher.matches("ä\xF0\x9F\x98\x83" "A\t\\ö"));
}

TEST(Regex, WhatIsWrongOrUnsupportedIsSaid) {
  for (const char* bad : {"(", "a)", "[a", "a{3,2}", "*a", "a{99999}", "\\u12", "[b-a]"}) EXPECT_EQ(regexExpression(bad).error().code(), ErrorCode::kInvalidInput) << bad;
  for (const char* missing : {"(?=a)", "(?<!a)", "\\bword", "(a)\\1", "a^", "a$b", "(a$)"}) EXPECT_EQ(regexExpression(missing).error().code(), ErrorCode::kUnsupported) << missing;
  EXPECT_FALSE(regexExpression(std::string(100, '(')).ok());
}

}  // namespace
}  // namespace exo::serve
