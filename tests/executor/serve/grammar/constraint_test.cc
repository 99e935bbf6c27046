// Masks over a vocabulary, against asking for every token by itself.
#include "executor/serve/grammar/constraint.h"

#include <gtest/gtest.h>

#include <random>

#include "executor/serve/grammar/json_grammar.h"

namespace exo::serve {
namespace {

bool has(const std::vector<uint32_t>& mask, int32_t id) { return mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1; }

std::vector<uint32_t> maskOf(GrammarConstraint& constraint, int32_t size) {
  std::vector<uint32_t> mask((static_cast<size_t>(size) + 31) / 32, 0xffffffffu);
  constraint.allowed(mask);
  return mask;
}

TEST(GrammarConstraint, TheMaskIsWhatEachTokenAloneWouldSay) {
  std::mt19937 random(5);
  std::vector<std::string> bytes(2000);
  for (std::string& token : bytes) {
    for (size_t i = random() % 5; i > 0; --i) token += "{}[]\":, \nabc01-."[random() % 16];
  }
  const auto vocabulary = std::make_shared<const Vocabulary>(bytes, std::vector<int32_t>{7});
  auto constraint = GrammarConstraint::create(objectGrammar(), vocabulary);
  auto automaton = Automaton::create(objectGrammar());
  ASSERT_TRUE(constraint.ok() && automaton.ok());
  Automaton::State state = automaton->start();
  for (int step = 0; step < 60; ++step) {
    const std::vector<uint32_t> mask = maskOf(**constraint, 2000);
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < 2000; ++id) {
      Automaton::State after = state;
      for (const char c : bytes[static_cast<size_t>(id)]) after = automaton->next(after, static_cast<uint8_t>(c));
      const bool fits = (!bytes[static_cast<size_t>(id)].empty() && after != Automaton::kDead) || (id == 7 && automaton->accepts(state));
      ASSERT_EQ(has(mask, id), fits) << "token \"" << bytes[static_cast<size_t>(id)] << "\" at step " << step;
      if (fits && id != 7) allowed.push_back(id);
    }
    if (allowed.empty()) break;
    const int32_t token = allowed[random() % allowed.size()];
    ASSERT_TRUE((*constraint)->accept(token).ok());
    for (const char c : bytes[static_cast<size_t>(token)]) state = automaton->next(state, static_cast<uint8_t>(c));
  }
}

TEST(GrammarConstraint, TheEndIsAllowedWhereTheTextMayEnd) {
  const std::vector<std::string> bytes = {"{", "}", "{}", ""};
  auto constraint = GrammarConstraint::create(objectGrammar(), std::make_shared<const Vocabulary>(bytes, std::vector<int32_t>{3}));
  ASSERT_TRUE(constraint.ok());
  EXPECT_FALSE(has(maskOf(**constraint, 4), 3));
  EXPECT_FALSE((*constraint)->accept(3).ok());
  EXPECT_FALSE((*constraint)->accept(1).ok());
  EXPECT_TRUE((*constraint)->accept(2).ok());
  const auto mask = maskOf(**constraint, 4);
  EXPECT_TRUE(has(mask, 3));
  EXPECT_FALSE(has(mask, 0) || has(mask, 1) || has(mask, 2));
  EXPECT_TRUE((*constraint)->accept(3).ok());
}

TEST(GrammarConstraint, LongAnswersKeepMemoryBounded) {
  std::vector<std::string> bytes = {"[", "]", "\"", "a", ""};
  auto grammar = schemaGrammar(OrderedJson::parse(R"({"type": "string", "maxLength": 20000})"), "schema");
  auto constraint = GrammarConstraint::create(*std::move(grammar), std::make_shared<const Vocabulary>(bytes, std::vector<int32_t>{4}));
  ASSERT_TRUE(constraint.ok());
  ASSERT_TRUE((*constraint)->accept(2).ok());
  for (int i = 0; i < 20000; ++i) {   // a state for each length: more than are kept
    if (i % 100 == 0) {
      EXPECT_TRUE(has(maskOf(**constraint, 5), 3)) << i;
    }
    ASSERT_TRUE((*constraint)->accept(3).ok()) << i;
  }
  const auto mask = maskOf(**constraint, 5);
  EXPECT_FALSE(has(mask, 3)) << "longer than the schema allows";
  EXPECT_TRUE(has(mask, 2));
}

}  // namespace
}  // namespace exo::serve
