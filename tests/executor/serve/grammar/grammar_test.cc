// Expressions, and the automaton that follows them.
#include "executor/serve/grammar/grammar.h"

#include <random>

#include "tests/executor/serve/grammar/matching.h"

namespace exo::serve {
namespace {

std::string utf8(uint32_t point) {
  std::string text;
  const auto add = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (point < 0x80) add(point);
  else if (point < 0x800) add(0xc0 | point >> 6), add(0x80 | (point & 63));
  else if (point < 0x10000) add(0xe0 | point >> 12), add(0x80 | (point >> 6 & 63)), add(0x80 | (point & 63));
  else add(0xf0 | point >> 18), add(0x80 | (point >> 12 & 63)), add(0x80 | (point >> 6 & 63)), add(0x80 | (point & 63));
  return text;
}

TEST(Grammar, SequenceChoiceAndCountsMeanWhatTheySay) {
  Matcher matcher(sequence({literal("a"), choice({literal("b"), literal("bc")}), repeat(literal("d"), 2, 3)}));
  for (const char* yes : {"abdd", "abddd", "abcdd"}) EXPECT_TRUE(matcher.matches(yes)) << yes;
  for (const char* no : {"", "abd", "abdddd", "acdd", "abccdd", "abddx"}) EXPECT_FALSE(matcher.matches(no)) << no;
}

TEST(Grammar, RepeatsOfWhatMayBeEmptyEnd) {
  Matcher matcher(repeat(optional(literal("a")), 3, kUnbounded));
  EXPECT_TRUE(matcher.matches(""));
  EXPECT_TRUE(matcher.matches("aaaaaaaa"));
  Matcher bounded(repeat(optional(literal("a")), 0, 50'000));
  EXPECT_TRUE(bounded.matches("aaa"));
  EXPECT_FALSE(bounded.matches("b"));
}

TEST(Grammar, RulesMayContainThemselves) {
  // balanced = ("(" balanced ")")*
  Matcher matcher(Grammar{{repeat(sequence({literal("("), ruleOf(0), literal(")")}), 0, kUnbounded)}});
  EXPECT_TRUE(matcher.matches("(()(()))()"));
  EXPECT_FALSE(matcher.matches("(()"));
  EXPECT_FALSE(matcher.matches("())"));
}

TEST(Grammar, RulesThatBeginWithThemselvesAreRefused) {
  EXPECT_FALSE(Automaton::create({{choice({literal("a"), sequence({ruleOf(0), literal("b")})})}}).ok());
  EXPECT_FALSE(Automaton::create({{ruleOf(1), sequence({optional(literal("x")), ruleOf(0)})}}).ok());
  EXPECT_TRUE(Automaton::create({{sequence({literal("x"), optional(ruleOf(0))})}}).ok());
}

TEST(Grammar, TextsUpToAMarkAndWithoutIt) {
  Grammar through{{choice({})}}, without{{choice({})}}, not_first{{choice({})}};
  through.rules[0] = sequence({textThrough(through, "aab"), literal("c")});
  without.rules[0] = textWithout(without, "aab");
  not_first.rules[0] = textWithout(not_first, "<a>", ByteSet().set('{'));
  Matcher matcher(through), free(without), start(not_first);
  for (const char* yes : {"aabc", "aaabc", "xaabc", "abaabc", "a aaaabc"}) EXPECT_TRUE(matcher.matches(yes)) << yes;
  for (const char* no : {"", "aab", "c", "aabaabc", "aabxaabc"}) EXPECT_FALSE(matcher.matches(no)) << no;
  for (const char* yes : {"", "aa", "aaa", "abab", "aaxb", "\xff"}) EXPECT_TRUE(free.matches(yes)) << yes;
  for (const char* no : {"aab", "aaab", "xaaby"}) EXPECT_FALSE(free.matches(no)) << no;
  for (const char* yes : {"", " ", "x{", "<", "<a", "<<a", " <x{"}) EXPECT_TRUE(start.matches(yes)) << yes;
  for (const char* no : {"{", " \n{", "<a>", "<<a>", " <a>"}) EXPECT_FALSE(start.matches(no)) << no;
}

TEST(Grammar, CharactersAreExactlyTheirRanges) {
  const CodePoints all_kinds = {{'a', 'c'}, {0x7e, 0x82}, {0x7f0, 0x80f}, {0xd700, 0xe010}, {0xfff0, 0x1000f}, {0x10fffd, 0x10ffff}};
  Matcher matcher(character(all_kinds)), others(character(complement(all_kinds)));
  std::mt19937 random(1);
  std::vector<uint32_t> points;
  for (const auto& [from, to] : all_kinds) {
    for (const uint32_t edge : {from, to}) points.insert(points.end(), {edge - 1, edge, edge + 1});
  }
  for (int i = 0; i < 20'000; ++i) points.push_back(random() % 0x110000);
  for (const uint32_t point : points) {
    if (point > kLastCodePoint) continue;
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    bool inside = false;
    for (const auto& [from, to] : all_kinds) inside |= point >= from && point <= to;
    EXPECT_EQ(matcher.matches(utf8(point)), inside && !surrogate) << point;
    EXPECT_EQ(others.matches(utf8(point)), !inside && !surrogate) << point;
  }
  EXPECT_FALSE(others.matches("\xc0\xaf")) << "an overlong form";
}

TEST(Automaton, ForgettingStatesChangesNoAnswer) {
  auto automaton = Automaton::create({{repeat(sequence({literal("["), ruleOf(0), literal("]")}), 0, kUnbounded)}});
  ASSERT_TRUE(automaton.ok());
  Automaton::State state = automaton->start();
  for (int i = 0; i < 200; ++i) state = automaton->next(state, '[');
  EXPECT_GT(automaton->numStates(), 200u);
  state = automaton->keepOnly(state);
  EXPECT_EQ(automaton->numStates(), 2u);
  for (int i = 0; i < 200; ++i) {
    EXPECT_FALSE(automaton->accepts(state));
    state = automaton->next(state, ']');
  }
  EXPECT_TRUE(automaton->accepts(state));
  EXPECT_EQ(automaton->next(state, ']'), Automaton::kDead);
}

}  // namespace
}  // namespace exo::serve
