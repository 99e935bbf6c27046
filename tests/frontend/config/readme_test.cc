// The README's table of families against the registry: every family is listed, in the registry's order, and nothing else.
#include <gtest/gtest.h>

#include <fstream>
#include <regex>

#include "frontend/config/model_config.h"

namespace exo {
namespace {

TEST(Readme, ListsTheFamiliesOfTheTable) {
  std::ifstream file(EXO_TEST_README);
  ASSERT_TRUE(file) << EXO_TEST_README;
  std::vector<std::string> listed;
  bool inside = false;
  const std::regex row("\\| `([a-z0-9_]+)` \\|.*");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| family (`model_type`)")) inside = true;
    if (line.empty()) inside = false;
    std::smatch match;
    if (inside && std::regex_match(line, match, row)) listed.push_back(match[1]);
  }
  EXPECT_EQ(listed, knownFamilies());
}

}  // namespace
}  // namespace exo
