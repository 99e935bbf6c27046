// What tests of graphs share: weights from a TensorSource in their encoding, steps over ragged batches, and logits by
// vocabulary id out of a graph's (values, ids) outputs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "frontend/checkpoint/tensor_source.h"
#include "ir/interpreter.h"

namespace exo::testing {

/// Reads (slices of) weights; w8 and w4 are rounded in blocks of 32 along each row of the slice, as packing does.
WeightFn weightsFrom(std::shared_ptr<const TensorSource> source);

/// Tokens that follow `start` positions of sequence `sequence`; logits are asked for all of them.
void appendTokens(InterpreterStep& step, int32_t sequence, int32_t start, const std::vector<int32_t>& tokens);

/// Runs a module of one global graph or of one local graph per rank.
class ModelRun {
 public:
  ModelRun(Module module, WeightFn weights, int64_t max_context) : module_(module), interpreter_(std::move(module), std::move(weights), max_context) {}

  /// Logits [rows][vocabulary] from the outputs, which must ask for as many candidates as the vocabulary has entries.
  /// With several ranks, all ranks that have outputs must have the same bits; error kMismatch else.
  Result<std::vector<std::vector<float>>> logits(const InterpreterStep& step);

 private:
  Module module_;
  Interpreter interpreter_;
};

int argmax(const std::vector<float>& row);

/// Largest difference, where it is, and the range (largest - smallest) of `wanted`.
struct Difference {
  double largest = 0, range = 0;
  size_t row = 0, column = 0;
  size_t argmax_differs = 0;  // rows
};
Difference compare(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& wanted);

}  // namespace exo::testing
