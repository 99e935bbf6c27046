// One request for text, as token ids, and where its results go. What the control service takes in and a Worker carries out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ir/base/result.h"

namespace exo::cluster {

struct GenerateRequest {
  std::vector<int32_t> prompt;   // at least one token
  int64_t max_tokens = 0;        // 0: no token, only the logits of the prompt
  bool ignore_eos = false;
  std::vector<int32_t> eos_ids;  // besides the model's own
  float temperature = 0;
  float top_p = 1;
  int64_t top_k = 0;
  uint64_t seed = 0;
  bool want_logits = false;      // of every position of the prompt
};

enum class FinishReason { kLength, kEos, kCancelled };
const char* name(FinishReason reason);

struct GenerateStats {
  FinishReason reason = FinishReason::kLength;
  int64_t prompt_tokens = 0, generated_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

/// An error returned by a sink ends the generation; it is passed on as it is.
class GenerateSink {
 public:
  virtual ~GenerateSink() = default;
  virtual Status token(int32_t id) = 0;
  /// Columns [column_begin, column_begin + values.size()) of the `columns` logits after the token at `position`.
  virtual Status logits(int64_t position, int64_t column_begin, int64_t columns, std::span<const float> values) = 0;
};

}  // namespace exo::cluster
