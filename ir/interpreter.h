// The reference interpreter: runs graphs with each op's reference function, slow and obvious: the oracle for passes and
// kernels. A Module of local graphs is run as N ranks in one process that meet at collectives.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "ir/graph.h"

namespace exo {

/// Fills `out` ([shape of the weight value], f32) with the elements the (local) weight node says, as its encoding would
/// keep them (blocked encodings: after rounding).
using WeightFn = std::function<Status(const WeightAttrs&, const Type&, std::vector<float>& out)>;

struct InterpreterStep {
  std::vector<int32_t> tokens, positions, sequence;  // [T]
  std::vector<int32_t> rows;                         // [R]
};

class Interpreter {
 public:
  /// A global graph (one graph) runs as one rank on full shapes, whatever shardings it carries.
  Interpreter(Module module, WeightFn weights, int64_t max_context)
      : module_(std::move(module)), weights_(std::move(weights)), max_context_(max_context) {}

  /// Runs one step on all ranks. Returns, per rank, the values by name (globals excluded). KV caches persist.
  Result<std::vector<std::map<std::string, Tensor>>> step(const InterpreterStep& step);

 private:
  Module module_;
  WeightFn weights_;
  int64_t max_context_;
  std::vector<std::map<std::string, Tensor>> globals_;  // per rank: weights and caches
};

}  // namespace exo
