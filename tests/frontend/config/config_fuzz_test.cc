// The fuzz entry over real files, cut anywhere and with bytes changed.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace exo {
namespace {

std::string readText(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void enter(const std::string& text) { LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size()); }

class ConfigFuzz : public testing::TestWithParam<const char*> {};

TEST_P(ConfigFuzz, SurvivesCutsAndChangedBytes) {
  const std::string text = readText(std::string(EXO_TEST_DATA) + "/golden/" + GetParam());
  ASSERT_GT(text.size(), 100u);
  for (size_t size = 0; size <= text.size(); ++size) enter(text.substr(0, size));
  const std::string replacements = "09-.\"{}[],:e\\ \xff";
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    for (const char c : replacements) {
      changed[i] = c;
      enter(changed);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, ConfigFuzz,
                         testing::Values("llama/config.json", "llama/config.v5.json", "qwen3_moe/config.json",
                                         "mixtral/config.v5.json"));

}  // namespace
}  // namespace exo
