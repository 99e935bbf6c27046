#include "executor/serve/grammar/automaton.h"

#include <algorithm>

namespace exo::serve {

size_t Automaton::FrameHash::operator()(const Frame& frame) const {
  size_t hash = std::hash<const void*>()(frame.expression);
  for (const uint64_t word : {uint64_t{frame.min}, uint64_t{frame.max}, static_cast<uint64_t>(frame.rest)}) hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 29;
}

Result<Automaton> Automaton::create(Grammar grammar) {
  EXO_TRY(checkRecursion(grammar));
  Automaton automaton(std::move(grammar));
  automaton.stateOf({automaton.push(*automaton.grammar_.rules[0], kEmpty)});
  return automaton;
}

int32_t Automaton::frame(const Frame& frame) {
  const auto [found, is_new] = frame_numbers_.try_emplace(frame, static_cast<int32_t>(frames_.size()));
  if (is_new) frames_.push_back(frame);
  return found->second;
}

int32_t Automaton::push(const Expression& expression, int32_t rest) { return frame({&expression, expression.min, expression.max, rest}); }

Automaton::State Automaton::stateOf(std::vector<int32_t> stacks) {
  std::vector<int32_t> tops;
  std::vector<int32_t> seen;
  bool accepts = false;
  while (!stacks.empty()) {
    const int32_t stack = stacks.back();
    stacks.pop_back();
    if (stack == kEmpty) {
      accepts = true;
      continue;
    }
    seen_.resize(frames_.size());
    if (seen_[static_cast<size_t>(stack)]) continue;   // also ends repeats of what may be empty
    seen_[static_cast<size_t>(stack)] = true;
    seen.push_back(stack);
    if (frames_[static_cast<size_t>(stack)].expression->kind == Expression::Kind::kBytes) tops.push_back(stack);
    else expand(stack, stacks);
  }
  for (const int32_t frame : seen) seen_[static_cast<size_t>(frame)] = false;
  if (tops.empty() && !accepts) return kDead;
  std::sort(tops.begin(), tops.end());
  const auto [found, is_new] = state_numbers_.try_emplace({tops, accepts}, static_cast<State>(states_.size()));
  if (is_new) {
    states_.push_back({std::move(tops), accepts, {}});
    states_.back().next.fill(kUnknown);
  }
  return found->second;
}

void Automaton::expand(int32_t stack, std::vector<int32_t>& stacks) {
  const Frame top = frames_[static_cast<size_t>(stack)];
  const Expression& expression = *top.expression;
  switch (expression.kind) {
    case Expression::Kind::kBytes: break;
    case Expression::Kind::kSequence: {
      int32_t rest = top.rest;
      for (auto part = expression.parts.rbegin(); part != expression.parts.rend(); ++part) rest = push(**part, rest);
      stacks.push_back(rest);
      break;
    }
    case Expression::Kind::kChoice:
      for (const Expr& part : expression.parts) stacks.push_back(push(*part, top.rest));
      break;
    case Expression::Kind::kRepeat:
      if (top.min == 0) stacks.push_back(top.rest);
      if (top.max > 0) {
        const Frame remaining{&expression, top.min > 0 ? top.min - 1 : 0, top.max == kUnbounded ? kUnbounded : top.max - 1, top.rest};
        stacks.push_back(push(*expression.parts[0], frame(remaining)));
      }
      break;
    case Expression::Kind::kRule: stacks.push_back(push(*grammar_.rules[expression.rule], top.rest)); break;
  }
}

Automaton::State Automaton::next(State state, uint8_t byte) {
  if (state == kDead) return kDead;
  const State known = states_[static_cast<size_t>(state)].next[byte];
  if (known != kUnknown) return known;
  std::vector<int32_t> stacks;
  for (const int32_t top : states_[static_cast<size_t>(state)].tops) {
    const Frame& frame = frames_[static_cast<size_t>(top)];
    if (frame.expression->bytes.test(byte)) stacks.push_back(frame.rest);
  }
  const State next = stateOf(stacks);
  states_[static_cast<size_t>(state)].next[byte] = next;   // stateOf may have moved the states
  return next;
}

Automaton::State Automaton::keepOnly(State state) {
  // Frames are renumbered: the stacks below the tops are copied into an automaton of the same grammar.
  Automaton fresh(std::move(grammar_));
  std::unordered_map<int32_t, int32_t> copies{{kEmpty, kEmpty}};
  const auto copy = [&](int32_t stack) {
    std::vector<int32_t> chain;
    for (; !copies.contains(stack); stack = frames_[static_cast<size_t>(stack)].rest) chain.push_back(stack);
    int32_t rest = copies[stack];
    for (auto number = chain.rbegin(); number != chain.rend(); ++number) {
      Frame frame = frames_[static_cast<size_t>(*number)];
      frame.rest = rest;
      rest = copies[*number] = fresh.frame(frame);
    }
    return rest;
  };
  fresh.stateOf({fresh.push(*fresh.grammar_.rules[0], kEmpty)});
  State kept = kDead;
  if (state != kDead) {
    const Stacks& old = states_[static_cast<size_t>(state)];
    std::vector<int32_t> stacks;
    for (const int32_t top : old.tops) stacks.push_back(copy(top));
    if (old.accepts) stacks.push_back(kEmpty);
    kept = fresh.stateOf(stacks);
  }
  *this = std::move(fresh);
  return kept;
}

}  // namespace exo::serve
