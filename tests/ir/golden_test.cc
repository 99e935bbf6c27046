// The architectures and the ops' reference functions against logits of an independent implementation
// (tests/data/golden: PyTorch, f32, written down with the checkpoints).
// V vocabulary, T tokens.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "frontend/architectures/architecture.h"
#include "frontend/checkpoint/checkpoint.h"
#include "model_runs.h"

namespace exo {
namespace {

using testing::ModelRun;

constexpr int64_t kContext = 192;

const std::filesystem::path kGolden = std::filesystem::path(EXO_TEST_DATA) / "golden";

std::vector<int32_t> integers(const SafetensorsFile& file, const std::string& name) {
  const TensorView* view = file.find(name);
  EXPECT_NE(view, nullptr) << name;
  std::vector<int32_t> values;
  for (int64_t i = 0; view && i < view->numElements(); ++i) {
    int64_t value;
    std::memcpy(&value, view->bytes.data() + i * 8, 8);
    values.push_back(static_cast<int32_t>(value));
  }
  return values;
}

std::vector<std::vector<float>> matrix(const SafetensorsFile& file, const std::string& name) {
  const TensorView* view = file.find(name);
  EXPECT_NE(view, nullptr) << name;
  const size_t columns = static_cast<size_t>(view->shape.back()), rows = static_cast<size_t>(view->numElements()) / columns;
  std::vector<std::vector<float>> values(rows, std::vector<float>(columns));
  for (size_t r = 0; r < rows; ++r) std::memcpy(values[r].data(), view->bytes.data() + r * columns * 4, columns * 4);
  return values;
}

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::filesystem::path folder = kGolden / GetParam();
    auto config = loadModelConfig(folder);
    ASSERT_TRUE(config.ok()) << config.error();
    auto checkpoint = Checkpoint::open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
    auto expected = SafetensorsFile::open(folder / "expected.safetensors");
    ASSERT_TRUE(expected.ok()) << expected.error();
    expected_.emplace(std::move(*expected));
    ImportOptions options{GetParam(), kContext, config->vocab_size, [](const std::string&) { return Encoding::kF32; }, Encoding::kF32};
    auto graph = buildGraph(*config, options);
    ASSERT_TRUE(graph.ok()) << graph.error();
    run_.emplace(Module{{*graph}}, testing::weightsFrom(std::make_shared<Checkpoint>(std::move(*checkpoint))), kContext);
  }

  std::vector<std::vector<float>> logits(const InterpreterStep& step) {
    auto result = run_->logits(step);
    EXPECT_TRUE(result.ok()) << result.error();
    return result.ok() ? *result : std::vector<std::vector<float>>(step.rows.size(), {0.0f});
  }

  /// Tolerance: the references themselves are 1.5e-5 away from f64; ours adds in f64 and rounds per op.
  void expectLogits(const std::vector<std::vector<float>>& got, const std::string& tensor) {
    const auto difference = testing::compare(got, matrix(*expected_, tensor));
    std::cout << GetParam() << " " << tensor << ": max |difference| " << difference.largest << " of range " << difference.range << " at row " << difference.row << " id "
              << difference.column << "\n";
    EXPECT_LE(difference.largest, 1e-3 * difference.range);
    EXPECT_EQ(difference.argmax_differs, 0u);
  }

  std::optional<SafetensorsFile> expected_;
  std::optional<ModelRun> run_;
};

TEST_P(Golden, LogitsOfEveryPositionEqualTheReference) {
  for (int prompt = 0; prompt < 3; ++prompt) {
    const std::string name = "prompt_" + std::to_string(prompt);
    InterpreterStep step;
    testing::appendTokens(step, prompt, 0, integers(*expected_, name + ".input_ids"));
    expectLogits(logits(step), name + ".logits");
  }
}

TEST_P(Golden, RaggedBatchGivesEachSequenceItsOwnLogits) {
  InterpreterStep step;
  testing::appendTokens(step, 2, 0, integers(*expected_, "prompt_0.input_ids"));
  testing::appendTokens(step, 0, 0, integers(*expected_, "prompt_1.input_ids"));
  const auto both = logits(step);
  expectLogits({both.begin(), both.begin() + 1}, "prompt_0.logits");
  expectLogits({both.begin() + 1, both.end()}, "prompt_1.logits");
}

TEST_P(Golden, ChunkedPrefillEqualsTheReference) {
  const auto ids = integers(*expected_, "prompt_2.input_ids");
  std::vector<std::vector<float>> all;
  for (const auto& [begin, end] : {std::pair(0, 5), std::pair(5, 21), std::pair(21, 33)}) {
    InterpreterStep step;
    testing::appendTokens(step, 1, begin, {ids.begin() + begin, ids.begin() + end});
    for (auto& row : logits(step)) all.push_back(std::move(row));
  }
  expectLogits(all, "prompt_2.logits");
}

TEST_P(Golden, GreedyContinuationEqualsTheReference) {
  const auto prompt = integers(*expected_, "prompt_1.input_ids"), wanted = integers(*expected_, "prompt_1.greedy");
  std::vector<int32_t> fed = prompt, got;
  int32_t position = 0;
  while (got.size() < wanted.size()) {
    InterpreterStep step;
    testing::appendTokens(step, 0, position, fed);
    step.rows = {static_cast<int32_t>(fed.size()) - 1};
    position += static_cast<int32_t>(fed.size());
    got.push_back(testing::argmax(logits(step)[0]));
    fed = {got.back()};
  }
  EXPECT_EQ(got, wanted);
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, ::testing::Values("llama", "llama_sharded", "qwen3", "qwen3_moe", "mixtral", "qwen3_mlx4", "qwen3_moe_mlx4", "qwen2_moe", "olmo2", "phi3", "glm4_moe", "gemma2", "gemma3_text", "gpt_oss_bf16", "gpt_oss_mxfp4", "deepseek_v3", "deepseek_v3_fp8", "kimi_k2_int4"), [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace exo
