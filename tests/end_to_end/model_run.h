// One `exoc run` of a test: a prompt of ids in, logits of the prompt and generated ids out.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "tests/end_to_end/program.h"

namespace exo::testing {

/// How a model is spread: --nodes and --strategy.
struct Layout {
  int nodes = 1;
  std::string strategy = "auto";
};
/// "1", "3_tp"
std::string toString(const Layout& layout);
void PrintTo(const Layout& layout, std::ostream* out);

struct RunRequest {
  std::string model;  // a directory, a configuration, or a plan: which has its layout, quantization and step size
  Layout layout;
  std::vector<int64_t> prompt;
  std::string quantization = "f32";
  int64_t max_tokens = 16;
  int64_t step_tokens = 256;
  Words more = {};
};

struct Logits {
  int64_t rows = 0, columns = 0;
  std::vector<float> values;  // row-major
};

struct RunResult {
  bool ok = false;  // false: a failure of the test has been recorded
  std::vector<int64_t> tokens;
  Logits logits;
};

/// Ends within a minute.
RunResult runModel(const RunRequest& request);

/// The tensor `name` (f32) of a safetensors file.
Logits readLogits(const std::filesystem::path& file, const std::string& name);

struct LogitDifference {
  double largest = 0, range = 0;  // max |a − b|; max b − min b
  size_t where = 0;
};
LogitDifference compareLogits(const Logits& got, const Logits& expected);
/// Fails the test unless every logit is within `tolerance` × range of the expected one.
void expectNear(const Logits& got, const Logits& expected, double tolerance);

}  // namespace exo::testing
