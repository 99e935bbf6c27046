#include "tests/end_to_end/model_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <ostream>

#include "frontend/checkpoint/safetensors.h"

namespace exo::testing {

namespace {

std::string joined(const std::vector<int64_t>& ids) {
  std::string text;
  for (int64_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

}  // namespace

std::string toString(const Layout& layout) { return std::to_string(layout.nodes) + (layout.strategy == "auto" ? "" : "_" + layout.strategy); }

void PrintTo(const Layout& layout, std::ostream* out) { *out << toString(layout); }

RunResult runModel(const RunRequest& request) {
  const Folder folder;
  const std::string logits = folder / "logits.safetensors", tokens = folder / "tokens.json";
  Words words = {"run", request.model, "--tokens", joined(request.prompt), "--ignore_eos", "--max_tokens", std::to_string(request.max_tokens), "--logits", logits, "--tokens_out", tokens};
  if (!std::filesystem::exists(std::filesystem::path(request.model) / "plan.pb")) {
    const Words compiling = {"--nodes", std::to_string(request.layout.nodes), "--strategy", request.layout.strategy, "--quant", request.quantization, "--step_tokens", std::to_string(request.step_tokens)};
    words.insert(words.end(), compiling.begin(), compiling.end());
  }
  words.insert(words.end(), request.more.begin(), request.more.end());
  const Outcome outcome = exoc(words);
  EXPECT_EQ(outcome.exit_code, 0) << request.model << " on " << toString(request.layout) << ": " << describe(outcome);
  if (outcome.exit_code != 0) return {};
  RunResult result;
  result.ok = true;
  result.tokens = nlohmann::json::parse(readFile(tokens)).at("tokens").get<std::vector<int64_t>>();
  result.logits = readLogits(logits, "logits");
  EXPECT_EQ(result.tokens.size(), static_cast<size_t>(request.max_tokens));
  EXPECT_EQ(result.logits.rows, static_cast<int64_t>(request.prompt.size()));
  return result;
}

Logits readLogits(const std::filesystem::path& path, const std::string& name) {
  const auto file = SafetensorsFile::open(path);
  EXPECT_TRUE(file.ok()) << file.error();
  const TensorView* view = file.ok() ? file->find(name) : nullptr;
  EXPECT_NE(view, nullptr) << path << ": " << name;
  if (!view || view->shape.size() != 2) return {};
  Logits logits{view->shape[0], view->shape[1], std::vector<float>(static_cast<size_t>(view->numElements()))};
  std::memcpy(logits.values.data(), view->bytes.data(), view->bytes.size());
  return logits;
}

LogitDifference compareLogits(const Logits& got, const Logits& expected) {
  LogitDifference result;
  EXPECT_EQ(got.rows, expected.rows);
  EXPECT_EQ(got.columns, expected.columns);
  if (got.values.size() != expected.values.size() || expected.values.empty()) return {INFINITY, 0, 0};
  for (size_t i = 0; i < got.values.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(got.values[i]) - expected.values[i]);
    if (!(difference <= result.largest)) result.largest = difference, result.where = i;  // also when not a number
  }
  const auto [low, high] = std::minmax_element(expected.values.begin(), expected.values.end());
  result.range = static_cast<double>(*high) - *low;
  return result;
}

void expectNear(const Logits& got, const Logits& expected, double tolerance) {
  const LogitDifference difference = compareLogits(got, expected);
  const size_t columns = static_cast<size_t>(std::max<int64_t>(1, expected.columns));
  EXPECT_LE(difference.largest, tolerance * difference.range) << "at position " << difference.where / columns << ", id " << difference.where % columns;
}

}  // namespace exo::testing
