// A grammar as an automaton that reads bytes. It is a stack machine with all its possible stacks followed at once; each set of
// stacks is a state, found when a text first leads there and kept with its transitions, so that common places (inside a
// string, say) cost a table look-up per byte.
// Threads: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "executor/serve/grammar/grammar.h"

namespace exo::serve {

class Automaton {
 public:
  using State = int32_t;
  static constexpr State kDead = -1;   // no text of the grammar begins so

  /// Error as checkRecursion.
  static Result<Automaton> create(Grammar grammar);

  State start() const { return 0; }
  /// The state after one more byte; kDead stays dead.
  State next(State state, uint8_t byte);
  /// Whether the text may end here.
  bool accepts(State state) const { return state != kDead && states_[static_cast<size_t>(state)].accepts; }
  /// States kept by now; a bound for callers, who then begin anew with states of theirs (see keepOnly).
  size_t numStates() const { return states_.size(); }

  /// Forgets all states but the start and this one; returns its new number.
  State keepOnly(State state);

 private:
  /// What is still to come: an expression, then the rest of the stack. A repeat is there with the counts that remain.
  struct Frame {
    const Expression* expression = nullptr;
    uint32_t min = 0, max = 0;
    int32_t rest = kEmpty;
    bool operator==(const Frame&) const = default;
  };
  struct FrameHash {
    size_t operator()(const Frame& frame) const;
  };
  static constexpr int32_t kEmpty = -1;   // the empty stack: the text is complete

  struct Stacks {
    std::vector<int32_t> tops;            // frames of kind kBytes, ascending
    bool accepts = false;
    std::array<State, 256> next;          // kUnknown until asked
  };
  static constexpr State kUnknown = -2;

  explicit Automaton(Grammar grammar) : grammar_(std::move(grammar)) {}
  int32_t push(const Expression& expression, int32_t rest);
  int32_t frame(const Frame& frame);
  /// The stacks that one whose top is no byte stands for, one step on.
  void expand(int32_t stack, std::vector<int32_t>& stacks);
  /// The state of all stacks of bytes that these lead to without reading.
  State stateOf(std::vector<int32_t> stacks);

  Grammar grammar_;
  std::vector<Frame> frames_;
  std::unordered_map<Frame, int32_t, FrameHash> frame_numbers_;
  std::vector<Stacks> states_;
  std::map<std::pair<std::vector<int32_t>, bool>, State> state_numbers_;
  std::vector<bool> seen_;                // frames; all false outside stateOf
};

}  // namespace exo::serve
