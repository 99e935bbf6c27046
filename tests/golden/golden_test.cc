// The real binaries against an independent implementation: tests/data/golden holds models with logits and greedy tokens
// computed by PyTorch in f32, or in f64 by tests/data/golden/reference. One node or many, prompt at once or in chunks: the same answer.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kGolden = fs::path(EXO_TEST_DATA) / "golden";
constexpr double kTolerance = 1e-3;  // of the logits' range; the references are 1.5e-5 away from f64
constexpr int64_t kAtOnce = 256, kChunks = 5;  // --step_tokens

struct Case {
  std::string model;
  Layout layout;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.model << " on " << toString(c.layout); }

std::string caseName(const ::testing::TestParamInfo<Case>& info) { return info.param.model + "_on_" + toString(info.param.layout); }

std::vector<Case> cases(const std::vector<std::string>& models, const std::vector<Layout>& layouts) {
  std::vector<Case> all;
  for (const std::string& model : models) {
    for (const Layout& layout : layouts) all.push_back({model, layout});
  }
  return all;
}

const std::vector<std::string> kPlainModels = {"llama", "llama_sharded", "qwen3", "qwen3_moe", "mixtral"};
const std::vector<std::string> kNewStyleModels = {"llama", "llama_sharded", "qwen3", "qwen3_moe", "mixtral", "gpt_oss_bf16"};
const std::vector<std::string> kModels = {"llama", "llama_sharded", "qwen3", "qwen3_moe", "mixtral", "qwen3_mlx4", "qwen3_moe_mlx4", "gpt_oss_bf16", "gpt_oss_mxfp4"};
const std::vector<std::string> kLatentModels = {"deepseek_v3", "deepseek_v3_fp8", "kimi_k2_int4"};
/// Computed by tests/data/golden/reference.
const std::vector<std::string> kOwnModels = {"qwen2_moe", "olmo2", "phi3", "glm4_moe", "gemma2", "gemma3_text"};

struct Prompt {
  std::vector<int64_t> ids, greedy;
  std::vector<double> margins;  // of the best logit over the second, per greedy token
};

Prompt promptOf(const std::string& model, size_t index) {
  const json all = json::parse(readFile(kGolden / model / "expected.json")), &entry = all.at("prompts").at(index);
  return {entry.at("input_ids"), entry.at("greedy"), entry.at("greedy_margins")};
}

class Golden : public ::testing::TestWithParam<Case> {
 protected:
  std::string model() const { return GetParam().model; }
  RunRequest request(const Prompt& prompt) const { return {(kGolden / model()).string(), GetParam().layout, prompt.ids}; }
  /// f32: logits and greedy tokens are those of the reference.
  void expectReference(size_t index, int64_t step_tokens, const fs::path& directory) const {
    SCOPED_TRACE("prompt " + std::to_string(index) + ", steps of " + std::to_string(step_tokens));
    const Prompt prompt = promptOf(model(), index);
    RunRequest asked = request(prompt);
    asked.model = directory.string();
    asked.step_tokens = step_tokens;
    const RunResult result = runModel(asked);
    if (!result.ok) return;
    EXPECT_EQ(result.tokens, prompt.greedy);
    if (index < 3) expectNear(result.logits, readLogits(kGolden / model() / "expected.safetensors", "prompt_" + std::to_string(index) + ".logits"), kTolerance);
  }
};

TEST_P(Golden, LogitsAndGreedyTokensEqualTheReference) {
  for (size_t prompt = 0; prompt < 4; ++prompt) expectReference(prompt, kAtOnce, kGolden / model());
}

TEST_P(Golden, PromptsInChunksEqualTheReference) {
  for (size_t prompt : {2, 3}) expectReference(prompt, kChunks, kGolden / model());
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, ::testing::ValuesIn(cases(kModels, {{1, "auto"}, {2, "tp"}, {3, "tp"}, {5, "tp"}, {2, "pp"}, {3, "pp"}, {4, "tp2pp2"}})), caseName);
INSTANTIATE_TEST_SUITE_P(LatentModels, Golden, ::testing::ValuesIn(cases(kLatentModels, {{1, "auto"}, {2, "tp"}, {3, "tp"}, {5, "tp"}, {2, "pp"}, {4, "tp2pp2"}})), caseName);
INSTANTIATE_TEST_SUITE_P(OwnModels, Golden, ::testing::ValuesIn(cases(kOwnModels, {{1, "auto"}, {2, "tp"}, {3, "tp"}, {2, "pp"}, {3, "pp"}})), caseName);

/// --isa forces an instruction set below this machine's best.
TEST(GoldenIsa, LowerInstructionSetsEqualTheReference) {
  std::vector<std::string> isas = {"generic"};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) isas.push_back("avx2");
#endif
  const Prompt prompt = promptOf("llama", 0);
  for (const std::string& isa : isas) {
    SCOPED_TRACE(isa);
    const RunResult result = runModel({.model = (kGolden / "llama").string(), .layout = {}, .prompt = prompt.ids, .more = {"--isa", isa}});
    if (!result.ok) continue;
    EXPECT_EQ(result.tokens, prompt.greedy);
    expectNear(result.logits, readLogits(kGolden / "llama" / "expected.safetensors", "prompt_0.logits"), kTolerance);
  }
}

/// Configurations come in two styles: as released, and as newer tools rewrite them.
using GoldenNewStyle = Golden;
TEST_P(GoldenNewStyle, EqualsTheReference) {
  const Folder folder;
  copyFolder(kGolden / model(), folder / model());
  fs::copy_file(kGolden / model() / "config.v5.json", folder / model() / "config.json", fs::copy_options::overwrite_existing);
  for (size_t prompt : {1, 2}) expectReference(prompt, kAtOnce, folder / model());
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenNewStyle, ::testing::ValuesIn(cases(kNewStyleModels, {{2, "tp"}})), caseName);
INSTANTIATE_TEST_SUITE_P(LatentModels, GoldenNewStyle, ::testing::ValuesIn(cases({"deepseek_v3"}, {{2, "tp"}})), caseName);
INSTANTIATE_TEST_SUITE_P(OwnModels, GoldenNewStyle, ::testing::ValuesIn(cases(kOwnModels, {{2, "tp"}})), caseName);

/// Weights as stored. Activations are not: f16 caches and sums in another order move logits by some hundredths, so only
/// tokens with a clear lead are compared, up to the first without.
using GoldenKept = Golden;
TEST_P(GoldenKept, GreedyTokensWithAClearLeadEqualTheReference) {
  constexpr double kClear = 0.05;
  for (size_t index : {0, 1, 2}) {
    const Prompt prompt = promptOf(model(), index);
    RunRequest asked = request(prompt);
    asked.quantization = "keep";
    const RunResult result = runModel(asked);
    if (!result.ok) return;
    size_t clear = 0;
    while (clear < prompt.margins.size() && prompt.margins[clear] >= kClear) ++clear;
    ASSERT_GT(clear, 0u) << "prompt " << index;
    EXPECT_EQ(std::vector(result.tokens.begin(), result.tokens.begin() + static_cast<std::ptrdiff_t>(clear)), std::vector(prompt.greedy.begin(), prompt.greedy.begin() + static_cast<std::ptrdiff_t>(clear)))
        << "prompt " << index;
  }
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenKept, ::testing::ValuesIn(cases({"llama", "qwen3", "qwen3_moe", "mixtral", "deepseek_v3", "kimi_k2_int4"}, {{1, "auto"}, {3, "tp"}})), caseName);

/// Quantised checkpoints: what is converted to 8 bits moves logits as little as int8 activations do. gpt_oss_mxfp4 is the more sensitive: the
/// reference's own run in bf16 is off by 2.2 there (expected.json, noise), in qwen3_mlx4 by 0.16; int8 activations move it by 0.85, 4.4 % of the range.
using GoldenConverted = Golden;
TEST_P(GoldenConverted, LogitsAreNearTheReference) {
  const double tolerance = model() == "gpt_oss_mxfp4" ? 5e-2 : 3e-2;
  RunRequest asked = request(promptOf(model(), 1));
  asked.quantization = "keep";
  const RunResult result = runModel(asked);
  if (result.ok) expectNear(result.logits, readLogits(kGolden / model() / "expected.safetensors", "prompt_1.logits"), tolerance);
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenConverted, ::testing::ValuesIn(cases({"qwen3_mlx4", "gpt_oss_mxfp4", "deepseek_v3_fp8"}, {{1, "auto"}, {3, "tp"}})), caseName);

/// int8 activations: where sums differ in the last bit, an activation may round the other way. The tokens stay the same, in
/// models whose best tokens lead by more than that.
class GoldenQuantized : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};
TEST_P(GoldenQuantized, AnyNumberOfNodesGivesTheTokensOfOneAndTheSameBitsOnEveryRun) {
  const auto& [model, quantization] = GetParam();
  for (size_t index : {1, 2}) {
    SCOPED_TRACE("prompt " + std::to_string(index));
    RunRequest asked{(kGolden / model).string(), {1, "auto"}, promptOf(model, index).ids};
    asked.quantization = quantization;
    const RunResult one = runModel(asked);
    for (const Layout& layout : {Layout{2, "tp"}, Layout{3, "tp"}, Layout{2, "pp"}}) {
      asked.layout = layout;
      const RunResult first = runModel(asked);
      EXPECT_EQ(first.tokens, one.tokens) << toString(layout);
      expectNear(first.logits, one.logits, 2e-2);
      if (layout.nodes != 3) continue;
      const RunResult again = runModel(asked);
      EXPECT_EQ(first.tokens, again.tokens);
      EXPECT_EQ(first.logits.values, again.logits.values);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenQuantized, ::testing::Combine(::testing::ValuesIn(kPlainModels), ::testing::Values("q8", "q4")),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

/// The file with other names for its tensors, and one more that nobody asks for.
void renameTensors(const fs::path& file, const std::function<std::string(const std::string&)>& rename) {
  const std::string image = readFile(file);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, image.data(), sizeof header_bytes);
  const json header = json::parse(image.substr(sizeof header_bytes, header_bytes));
  std::string data = image.substr(sizeof header_bytes + header_bytes);
  json renamed = {{"vision_tower.vision_model.embeddings.patch_embedding.weight", {{"dtype", "F32"}, {"shape", {1, 1, 1, 1}}, {"data_offsets", {data.size(), data.size() + 4}}}}};
  for (const auto& [name, tensor] : header.items()) renamed[name == "__metadata__" ? name : rename(name)] = tensor;
  data.append(4, '\0');
  const std::string text = renamed.dump();
  header_bytes = text.size();
  std::string out(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
  writeFile(file, out + text + data);
}

/// Gemma 3 with images: the text's configuration and tensors are parts of larger ones, by older and by newer names.
TEST(GoldenParts, TheTextOfAModelOfSeveralModalitiesEqualsTheReference) {
  const Prompt prompt = promptOf("gemma3_text", 1);
  for (const std::string prefix : {"language_model.model.", "model.language_model."}) {
    SCOPED_TRACE(prefix);
    const Folder folder;
    const fs::path directory = folder / "model";
    copyFolder(kGolden / "gemma3_text", directory);
    const json text = json::parse(readFile(directory / "config.json"));
    writeFile(directory / "config.json", json{{"model_type", "gemma3"}, {"architectures", {"Gemma3ForConditionalGeneration"}}, {"text_config", text}, {"vision_config", {{"model_type", "siglip_vision_model"}}}}.dump());
    renameTensors(directory / "model.safetensors", [&](const std::string& name) { return name.starts_with("model.") ? prefix + name.substr(6) : name; });
    const RunResult result = runModel({directory.string(), {2, "tp"}, prompt.ids});
    if (!result.ok) return;
    EXPECT_EQ(result.tokens, prompt.greedy);
    expectNear(result.logits, readLogits(kGolden / "gemma3_text" / "expected.safetensors", "prompt_1.logits"), kTolerance);
  }
}

}  // namespace
}  // namespace exo::testing
