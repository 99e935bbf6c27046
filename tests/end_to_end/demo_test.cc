// The demo model answers what models/demo/expected.json says, on any number of nodes.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kDemo = fs::path(EXO_TEST_DATA).parent_path().parent_path() / "models" / "demo";

struct Spread {
  const char* nodes;
  const char* quantization;
};
void PrintTo(const Spread& spread, std::ostream* out) { *out << spread.nodes << " nodes, " << spread.quantization; }

class Demo : public ::testing::TestWithParam<Spread> {};

TEST_P(Demo, AnswersAsExpected) {
  const json cases = json::parse(readFile(kDemo / "expected.json"));
  ASSERT_GE(cases.size(), 5u);
  for (const json& expected : cases) {
    const std::string prompt = expected.at("prompt"), begins = expected.at("begins");
    ASSERT_GE(begins.size(), 20u) << prompt;
    Words words = {"run", kDemo, "--nodes", GetParam().nodes, "--quant", GetParam().quantization, "--prompt", prompt, "--max_tokens", "64"};
    if (expected.at("chat").get<bool>()) words.push_back("--chat");
    const Outcome outcome = exoc(words);
    ASSERT_EQ(outcome.exit_code, 0) << describe(outcome);
    EXPECT_EQ(outcome.out.substr(0, begins.size()), begins) << prompt;
  }
}

INSTANTIATE_TEST_SUITE_P(Spreads, Demo, ::testing::Values(Spread{"1", "keep"}, Spread{"2", "keep"}, Spread{"3", "q8"}, Spread{"2", "f32"}),
                         [](const auto& info) { return std::string("on_") + info.param.nodes + "_" + info.param.quantization; });

}  // namespace
}  // namespace exo::testing
