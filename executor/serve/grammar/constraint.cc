#include "executor/serve/grammar/constraint.h"

#include <algorithm>

namespace exo::serve {
namespace {

// A state takes about 1 KiB, a mask 16 KiB where the vocabulary has 128k tokens.
constexpr size_t kMaxStates = 16384;
constexpr size_t kMaxMasks = 256;

}  // namespace

Result<std::unique_ptr<GrammarConstraint>> GrammarConstraint::create(Grammar grammar, std::shared_ptr<const Vocabulary> vocabulary) {
  EXO_ASSIGN(Automaton automaton, Automaton::create(std::move(grammar)));
  return std::unique_ptr<GrammarConstraint>(new GrammarConstraint(std::move(automaton), std::move(vocabulary)));
}

GrammarConstraint::Mask GrammarConstraint::maskOf(Automaton::State state) {
  Mask mask((static_cast<size_t>(vocabulary_->size()) + 31) / 32);
  const auto allow = [&](int32_t token) { mask[static_cast<size_t>(token) / 32] |= 1u << (token % 32); };
  std::vector<Automaton::State> path = {state};   // after each byte of the prefix
  const auto enter = [&](uint16_t depth, uint8_t byte) {
    path.resize(depth + size_t{1});
    path[depth] = automaton_.next(path[depth - size_t{1}], byte);
    return path[depth] != Automaton::kDead;
  };
  vocabulary_->walk(enter, allow);
  if (automaton_.accepts(state)) std::for_each(vocabulary_->eosIds().begin(), vocabulary_->eosIds().end(), allow);
  return mask;
}

void GrammarConstraint::boundMemory() {
  if (automaton_.numStates() > kMaxStates) {
    state_ = automaton_.keepOnly(state_);
    masks_.clear();
  }
  if (masks_.size() > kMaxMasks) masks_.clear();
}

void GrammarConstraint::allowed(std::span<uint32_t> allowed) {
  boundMemory();
  auto mask = masks_.find(state_);
  if (mask == masks_.end()) mask = masks_.emplace(state_, maskOf(state_)).first;
  std::fill(allowed.begin(), allowed.end(), 0);
  std::copy_n(mask->second.begin(), std::min(allowed.size(), mask->second.size()), allowed.begin());
}

Status GrammarConstraint::accept(int32_t token) {
  const auto eos = vocabulary_->eosIds();
  if (automaton_.accepts(state_) && std::find(eos.begin(), eos.end(), token) != eos.end()) return {};
  Automaton::State state = token >= 0 && token < vocabulary_->size() && !vocabulary_->bytes(token).empty() ? state_ : Automaton::kDead;
  if (state != Automaton::kDead) {
    for (const char c : vocabulary_->bytes(token)) state = automaton_.next(state, static_cast<uint8_t>(c));
  }
  if (state == Automaton::kDead) return invalid("token ", token, " does not fit the grammar");
  state_ = state;
  return {};
}

}  // namespace exo::serve
