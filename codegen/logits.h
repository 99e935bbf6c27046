// What is done to a row of logits before its candidates are taken, on each rank to its own part of the vocabulary: so that
// penalties, constraints and draws from the whole distribution need no rank to see all of it.
#pragma once

#include <cstdint>
#include <span>

namespace exo::codegen {

/// Of one token: positive logits are divided by `divisor` and others multiplied (a repetition penalty; 1: none); then
/// `addend` is added, which may be -inf.
struct LogitEdit {
  int32_t id = 0;
  float divisor = 1, addend = 0;
};

/// Plain bytes, as they lie in a step message.
struct RowControl {
  static constexpr int32_t kNoMask = -1;
  static constexpr uint32_t kStatistics = 1;   // RowStatistics are wanted
  static constexpr uint32_t kDraw = 2;         // one candidate is wanted, drawn from the whole distribution

  uint64_t seed = 0, position = 0;             // of the draw
  uint32_t edits_begin = 0, edits_end = 0;     // in RowControls::edits; ids ascend
  int32_t mask = kNoMask;                      // number of a mask in RowControls::masks
  float inverse_temperature = 1;               // of statistics and draw
  uint32_t flags = 0, reserved = 0;
};
static_assert(sizeof(RowControl) == 40, "no holes");
static_assert(sizeof(LogitEdit) == 12, "no holes");

/// Of all rows of a step; empty: every row as it is.
struct RowControls {
  std::span<const RowControl> rows;            // [R]
  std::span<const LogitEdit> edits;
  std::span<const uint32_t> masks;             // [number of masks][maskWords(vocab_size)]: bit id % 32 of word id / 32 allows a token
};
constexpr int64_t maskWords(int64_t vocab_size) { return (vocab_size + 31) / 32; }

/// Of x = logit * inverse_temperature over some tokens, after edits and mask.
struct RowStatistics {
  float largest = -__builtin_inff();           // x; -inf: no token is allowed
  float draw_score = -__builtin_inff();        // of the row's draw, and the drawn token's logit
  float drawn = 0;
  int32_t reserved = 0;
  double sum = 0;                              // of exp(x - largest)
  double weighted = 0;                         // of (x - largest) exp(x - largest)

  /// Of the tokens of both.
  void merge(const RowStatistics& other);
};
static_assert(sizeof(RowStatistics) == 32, "no holes");

/// Edits and masks this rank's part [first_id, first_id + logits.size()) of a row.
void editLogits(std::span<float> logits, int64_t first_id, const RowControl& control, const RowControls& controls, int64_t mask_words);

RowStatistics statisticsOf(std::span<const float> logits, float inverse_temperature);

/// A token drawn from the softmax of the row: the best of all ranks' draws, by score, is a draw from the whole vocabulary (Gumbel-max over
/// blocks of 16 ids, then within the block). The token does not depend on how the vocabulary is divided, as long as first_id is a
/// multiple of 16. id -1: no token is allowed.
struct Draw {
  float score = -__builtin_inff();
  int32_t id = -1;
};
Draw drawToken(std::span<const float> logits, int64_t first_id, const RowControl& control);

}  // namespace exo::codegen
