// One request as the scheduler sees it: tokens, how many of them are computed, and the pages they are in.
#pragma once

#include <cstdint>
#include <vector>

namespace exo::serve {

/// Before whom it goes: smaller first. `rank` is the time of arrival, earlier by what its priority is worth; `arrival` makes it unique.
struct Turn {
  int64_t rank = 0;
  uint64_t arrival = 0;
  friend auto operator<=>(const Turn&, const Turn&) = default;
};

struct Sequence {
  Turn turn;
  std::vector<int32_t> tokens;       // the prompt, then the answer as far as it is chosen
  int64_t prompt_length = 0;
  bool wants_token = true;           // false: only the prompt is computed
  bool all_rows = false;             // logits of every position of the prompt are wanted: nothing is taken from earlier sequences
  int64_t rows_per_token = 1;        // of logits, for one choice

  // The scheduler's.
  int64_t computed = 0;              // positions [0, computed) are in the pages
  int64_t cached = 0;                // of those, taken over when the prompt was computed first
  std::vector<int32_t> pages;
  int64_t published = 0;             // of the pages, from the first
  bool running = false;              // holds pages

  int64_t pending() const { return static_cast<int64_t>(tokens.size()) - computed; }
  /// One token a step; else a prompt, or what was computed before and lost its pages, is on its way.
  bool decoding() const { return running && pending() == 1 && computed >= prompt_length; }
};

}  // namespace exo::serve
