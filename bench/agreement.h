// How far the executor's logits are from those of the reference interpreter, which reads the same weights, quantised the same
// way, and multiplies in f32: what is left are int8 activations, f16 caches, and sums in another order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "frontend/driver/model.h"
#include "ir/base/result.h"

namespace exo::bench {

struct AgreementRequest {
  std::filesystem::path model;                // a directory with weights
  Quantization quantization = Quantization::kKeep;
  std::vector<std::vector<int32_t>> prompts;  // none empty
  int64_t max_tokens = 16;                    // of the greedy continuation of each
};

struct Agreement {
  int64_t rows = 0, columns = 0, layers = 0;   // of logits, all prompts and the reference's continuations together
  double relative_rms = 0;                     // of the differences, in standard deviations of the reference's logits
  double mean = 0, p50 = 0, p99 = 0, max = 0;  // |difference| as a part of the range of the reference's logits in that row
  double equal_best = 0;                       // part of the rows with the same best token
  double smallest_lead = 0;                    // of the reference's best logit, as a part of the range, where the best tokens differ; 0: nowhere
  int64_t greedy_tokens = 0, greedy_equal = 0; // of the reference's continuations; of them what the executor, left alone, says up to its first other token
};

/// Errors: those of opening, compiling and running the model; kInvalidInput for a request out of range.
Result<Agreement> agreementOf(const AgreementRequest& request);

}  // namespace exo::bench
