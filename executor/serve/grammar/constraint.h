// A TokenConstraint that keeps an answer inside a grammar.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "executor/serve/grammar/automaton.h"
#include "executor/serve/grammar/vocabulary.h"
#include "executor/serve/token_constraint.h"

namespace exo::serve {

/// Masks of states are kept: of a vocabulary of 128k tokens a new state costs about a millisecond, a known one a copy.
class GrammarConstraint : public TokenConstraint {
 public:
  /// Error kInvalidInput for a grammar that refers to itself without anything in between.
  static Result<std::unique_ptr<GrammarConstraint>> create(Grammar grammar, std::shared_ptr<const Vocabulary> vocabulary);

  void allowed(std::span<uint32_t> allowed) override;
  /// Error kInvalidInput for a token that is not allowed.
  Status accept(int32_t token) override;

 private:
  GrammarConstraint(Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary) : automaton_(std::move(automaton)), vocabulary_(std::move(vocabulary)), state_(automaton_.start()) {}
  using Mask = std::vector<uint32_t>;
  Mask maskOf(Automaton::State state);
  void boundMemory();

  Automaton automaton_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  Automaton::State state_;
  std::unordered_map<Automaton::State, Mask> masks_;
};

}  // namespace exo::serve
