// How many tokens of prompts a step may take along while others wait for their next token: as many as make it at most
// kSlowdown times as long as one without. Learnt from the steps themselves.
#pragma once

#include <cstdint>

namespace exo::serve {

class ChunkPolicy {
 public:
  /// Between two tokens of a running answer, relative to steps without prompts. Below 2, the promise, because steps vary.
  static constexpr double kSlowdown = 1.7;

  explicit ChunkPolicy(int64_t max_tokens) : max_tokens_(max_tokens) {}

  /// At least 1: prompts never stand still.
  int64_t promptTokens() const;
  /// What a step took. decoding + prompt_tokens > 0.
  void observe(int64_t decoding, int64_t prompt_tokens, double seconds);

 private:
  int64_t max_tokens_;
  double decode_seconds_ = 0;      // of a step without prompts; 0: none seen
  double token_seconds_ = 0;       // that one more token of a prompt takes; 0: none seen
};

}  // namespace exo::serve
