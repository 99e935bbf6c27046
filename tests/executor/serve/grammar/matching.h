// Whether a text is one of a grammar's, read byte by byte.
#pragma once

#include <gtest/gtest.h>

#include <string_view>

#include "executor/serve/grammar/automaton.h"

namespace exo::serve {

class Matcher {
 public:
  explicit Matcher(Result<Grammar> grammar) : automaton_(make(std::move(grammar))) {}
  explicit Matcher(Expr whole) : Matcher(Grammar{{std::move(whole)}}) {}

  bool matches(std::string_view text) {
    Automaton::State state = automaton_.start();
    for (const char c : text) state = automaton_.next(state, static_cast<uint8_t>(c));
    return automaton_.accepts(state);
  }

 private:
  static Automaton make(Result<Grammar> grammar) {
    if (!grammar.ok()) ADD_FAILURE() << grammar.error();
    auto automaton = Automaton::create(grammar.ok() ? *std::move(grammar) : Grammar{{choice({})}});
    EXO_CHECK(automaton.ok()) << automaton.error();
    return *std::move(automaton);
  }
  Automaton automaton_;
};

}  // namespace exo::serve
