// Golden models as GGUF files through the real binaries: the reference's logits and tokens where nothing is rounded, and the
// same bits as from safetensors where both are packed alike.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "frontend/checkpoint/checkpoint.h"
#include "tests/end_to_end/model_run.h"
#include "tests/end_to_end/program.h"
#include "tests/golden/to_gguf.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(EXO_TEST_DATA) / "golden";

class GgufGolden : public ::testing::TestWithParam<const char*> {
 protected:
  std::string model() const { return GetParam(); }
  fs::path write(GgufPrecision precision) {
    const fs::path file = folder_ / (model() + ".gguf");
    writeGguf(kGolden / model(), precision, file);
    return file;
  }
  nlohmann::json prompt(size_t index) const { return nlohmann::json::parse(readFile(kGolden / model() / "expected.json")).at("prompts").at(index); }
  RunResult run(const fs::path& path, const std::string& quantization, const Layout& layout = {1, "auto"}) const {
    RunRequest request{path.string(), layout, prompt(1).at("input_ids")};
    request.quantization = quantization;
    return runModel(request);
  }
  Folder folder_;
};

TEST_P(GgufGolden, UnroundedWeightsGiveTheReference) {
  // The published weights are bf16: both precisions hold them exactly.
  for (const GgufPrecision precision : {GgufPrecision::kF32, GgufPrecision::kBF16}) {
    const fs::path file = write(precision);
    for (const Layout& layout : {Layout{1, "auto"}, Layout{3, "tp"}}) {
      const RunResult result = run(file, "f32", layout);
      if (!result.ok) return;
      EXPECT_EQ(result.tokens, prompt(1).at("greedy").get<std::vector<int64_t>>()) << toString(layout);
      expectNear(result.logits, readLogits(kGolden / model() / "expected.safetensors", "prompt_1.logits"), 1e-3);
    }
  }
}

TEST_P(GgufGolden, WeightsInF16GiveNearlyTheReference) {
  const RunResult result = run(write(GgufPrecision::kF16), "f32");
  if (!result.ok) return;
  expectNear(result.logits, readLogits(kGolden / model() / "expected.safetensors", "prompt_1.logits"), 1e-2);
}

TEST_P(GgufGolden, BlocksRunAsTheyAreStored) {
  const RunResult stored = run(write(GgufPrecision::kQ8), "keep"), packed = run(kGolden / model(), "q8");
  if (!stored.ok || !packed.ok) return;
  EXPECT_EQ(stored.tokens, packed.tokens);
  EXPECT_EQ(stored.logits.values, packed.logits.values);
}

using GgufFamilies = GgufGolden;
TEST_P(GgufFamilies, UnroundedWeightsGiveTheReference) {
  const fs::path file = write(GgufPrecision::kBF16);
  for (const Layout& layout : {Layout{1, "auto"}, Layout{2, "tp"}}) {
    const RunResult result = run(file, "f32", layout);
    if (!result.ok) return;
    EXPECT_EQ(result.tokens, prompt(1).at("greedy").get<std::vector<int64_t>>()) << toString(layout);
    expectNear(result.logits, readLogits(kGolden / model() / "expected.safetensors", "prompt_1.logits"), 1e-3);
  }
}
INSTANTIATE_TEST_SUITE_P(Models, GgufFamilies, ::testing::Values("olmo2", "phi3", "glm4_moe", "gpt_oss_bf16"), [](const auto& info) { return std::string(info.param); });

/// Files do not say everything: which layers of gemma have a window, what its scores are divided by, and which layers of qwen2_moe are
/// dense is as in the published models. Golden models changed to be like those answer as their directories do.
struct Changed {
  const char* model;
  nlohmann::json changes;
};
void PrintTo(const Changed& changed, std::ostream* out) { *out << changed.model; }
class GgufChanged : public ::testing::TestWithParam<Changed> {};
TEST_P(GgufChanged, AnswersAsTheDirectory) {
  const Folder folder;
  const fs::path directory = folder / "model", file = folder / "model.gguf";
  copyFolder(kGolden / GetParam().model, directory);
  auto config = nlohmann::json::parse(readFile(directory / "config.json"));
  config.update(GetParam().changes);
  writeFile(directory / "config.json", config.dump());
  writeGguf(directory, GgufPrecision::kBF16, file);
  const auto prompt = nlohmann::json::parse(readFile(directory / "expected.json")).at("prompts").at(2);
  RunRequest request{directory.string(), {1, "auto"}, prompt.at("input_ids")};
  const RunResult expected = runModel(request);
  request.model = file.string();
  const RunResult got = runModel(request);
  if (!expected.ok || !got.ok) return;
  EXPECT_EQ(got.tokens, expected.tokens);
  expectNear(got.logits, expected.logits, 1e-5);  // of gemma's norms 1 + w is rounded to f32 in the file
}
INSTANTIATE_TEST_SUITE_P(Models, GgufChanged,
                         ::testing::Values(Changed{"gemma2", {{"query_pre_attn_scalar", 10}}},
                                           Changed{"gemma3_text", {{"query_pre_attn_scalar", 14}, {"sliding_window_pattern", 6}}},
                                           Changed{"qwen2_moe", {{"num_hidden_layers", 1}, {"mlp_only_layers", nlohmann::json::array()}}}),
                         [](const auto& info) { return std::string(info.param.model); });

INSTANTIATE_TEST_SUITE_P(Models, GgufGolden, ::testing::Values("llama", "qwen3", "qwen3_moe", "mixtral"), [](const auto& info) { return std::string(info.param); });

TEST(GgufCommands, ShowAndCompileSayWhatIsStored) {
  const Folder folder;
  const std::string file = folder / "model.gguf", plan = folder / "plan";
  writeGguf(kGolden / "llama", GgufPrecision::kQ8, file);
  const Outcome shown = exoc({"show", file});
  EXPECT_EQ(shown.exit_code, 0) << describe(shown);
  EXPECT_NE(shown.out.find("stored      Q8_0 ("), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("runs as stored, in w8"), std::string::npos) << shown.out;
  const Outcome compiled = exoc({"compile", file, "--nodes", "2", "--quant", "q4", "--out", plan});
  EXPECT_EQ(compiled.exit_code, 0) << describe(compiled);
  const std::string report = readFile(plan + "/report.txt");
  EXPECT_NE(report.find("weights: Q8_0 ("), std::string::npos) << report;
  EXPECT_NE(report.find("is converted to w4"), std::string::npos) << report;
  EXPECT_NE(report.find("rounded by at most 1/16 of the largest of 32 weights"), std::string::npos) << report;
}

TEST(GgufCommands, APlanOfStoredBlocksIsVerified) {
  const Folder folder;
  const std::string file = folder / "model.gguf", plan = folder / "plan";
  writeGguf(kGolden / "llama", GgufPrecision::kQ8, file);
  const Outcome compiled = exoc({"compile", file, "--nodes", "2", "--strategy", "tp", "--out", plan});
  EXPECT_EQ(compiled.exit_code, 0) << describe(compiled);
  const Outcome verified = exoc({"verify", plan});
  EXPECT_EQ(verified.exit_code, 0) << describe(verified);
}

/// The vocabulary in the file and the one in tokenizer.json are one.
TEST(GgufCommands, TextIsThatOfThePublishedModel) {
  const Folder folder;
  const std::string file = folder / "model.gguf";
  for (const char* model : {"llama", "qwen3"}) {
    writeGguf(kGolden / model, GgufPrecision::kBF16, file);
    const auto text = [](const std::string& path) {
      const Outcome outcome = exoc({"run", path, "--prompt", "Permission is hereby granted, free of charge", "--max_tokens", "12", "--ignore_eos", "--quant", "f32"});
      EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
      return outcome.out;
    };
    const std::string expected = text(kGolden / model);
    EXPECT_FALSE(expected.empty());
    EXPECT_EQ(text(file), expected) << model;
  }
}

/// Blocks that our own quantiser would have chosen otherwise: kept, the activations are the only rounding. On any number of nodes.
TEST(GgufBlocks, AreNotRequantised) {
  const Folder folder;
  const fs::path file = folder / "model.gguf";
  for (const GgufPrecision precision : {GgufPrecision::kQ8Wide, GgufPrecision::kQ4Wide}) {
    writeGguf(kGolden / "llama", precision, file);
    RunRequest request{file.string(), {1, "auto"}, nlohmann::json::parse(readFile(kGolden / "llama" / "expected.json")).at("prompts").at(2).at("input_ids")};
    const RunResult exact = runModel(request);
    request.quantization = "keep";
    const RunResult kept = runModel(request);
    request.layout = {2, "tp"};
    const RunResult split = runModel(request);
    if (!exact.ok || !kept.ok || !split.ok) return;
    // Activations in int8 move logits by less than a hundredth of their range; requantised 4-bit weights by a tenth.
    expectNear(kept.logits, exact.logits, 2e-2);
    expectNear(split.logits, exact.logits, 2e-2);
  }
}

}  // namespace
}  // namespace exo::testing
