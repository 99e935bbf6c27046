// Trained models that are not ours to publish, in the folder that EXO_SHARED names: text in, the reference's text out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kEnd = "<|end_story|>";

class Trained : public ::testing::TestWithParam<std::tuple<std::string, Layout>> {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("EXO_SHARED");
    directory_ = fs::path(shared ? shared : "") / "trained" / std::get<0>(GetParam());
    if (!shared || !fs::exists(directory_)) GTEST_SKIP() << "SKIPPED: EXO_SHARED names no folder with trained/" << std::get<0>(GetParam()) << "; set it to run this test";
  }
  fs::path directory_;
};

TEST_P(Trained, TellsTheStoryOfTheReference) {
  const Layout layout = std::get<1>(GetParam());
  const json expected = json::parse(readFile(directory_ / "expected.json"));
  size_t told = 0;
  for (const json& prompt : expected.at("prompts")) {
    const std::string text = prompt.at("text");
    const Folder folder;
    auto greedy = prompt.at("greedy").get<std::vector<int64_t>>();
    std::string wanted = prompt.at("text_out");
    Words words = {"run", directory_.string(), "--quant", "f32", "--nodes", std::to_string(layout.nodes), "--strategy", layout.strategy, "--max_tokens", std::to_string(greedy.size()), "--tokens_out", folder / "tokens.json"};
    // The reference writes its end token down, as id and as text; to us it is the end.
    if (greedy.back() == 1 || greedy.back() == 2) {
      greedy.pop_back();
      wanted.erase(std::min(wanted.rfind(kEnd), wanted.size()));
      if (wanted.ends_with(' ')) wanted.pop_back();
    }
    // No text at all: the begin token alone, as an id.
    if (text.empty()) words.insert(words.end(), {"--tokens", "1"});
    else words.insert(words.end(), {"--prompt", text});
    const Outcome outcome = exoc(words);
    ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
    EXPECT_EQ(json::parse(readFile(folder / "tokens.json")).at("tokens").get<std::vector<int64_t>>(), greedy) << text;
    EXPECT_EQ(outcome.out, wanted + "\n") << text;
    ++told;
  }
  EXPECT_GT(told, 0u);
}

INSTANTIATE_TEST_SUITE_P(Models, Trained, ::testing::Combine(::testing::Values("stories260K_hf", "story_hf"), ::testing::Values(Layout{1, "auto"}, Layout{2, "tp"}, Layout{3, "tp"}, Layout{5, "tp"}, Layout{2, "pp"})),
                         [](const auto& info) { return std::get<0>(info.param) + "_on_" + toString(std::get<1>(info.param)); });

}  // namespace
}  // namespace exo::testing
