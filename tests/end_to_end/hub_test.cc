// A model from the hub, by its name there, as users have it.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/end_to_end/program.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

TEST(Hub, APulledModelRunsByItsName) {
  const Folder folder;
  fs::create_directories(folder / "hub/org");
  copyFolder(fs::path(EXO_TEST_DATA) / "golden" / "llama", folder / "hub/org/llama");
  // The server ends when its stdin does.
  Program hub({"/bin/sh", "-c", "sleep 120 | exec \"$0\" \"$1\" \"$2\"", EXO_PYTHON, EXO_HUB_SERVER, folder / "hub"});
  ASSERT_TRUE(hub.waitForOutput("\n", 30s)) << hub.err();
  ::setenv("HF_ENDPOINT", ("http://127.0.0.1:" + hub.out().substr(0, hub.out().find('\n'))).c_str(), 1);
  ::setenv("HF_HUB_CACHE", (folder / "cache").c_str(), 1);

  const Words run = {"run", "org/llama", "--tokens", "1,2,3", "--max_tokens", "4", "--ignore_eos"};
  const Outcome before = exoc(run);
  EXPECT_EQ(before.exit_code, 2) << describe(before);
  EXPECT_NE(before.err.find("exoc pull org/llama"), std::string::npos) << before.err;

  const Outcome pulled = exoc({"pull", "org/llama"});
  ASSERT_EQ(pulled.exit_code, 0) << describe(pulled);
  EXPECT_TRUE(pulled.out.starts_with((folder / "cache/models--org--llama/snapshots/").string())) << pulled.out;

  const Outcome by_name = exoc(run), by_path = exoc({"run", folder / "hub/org/llama", "--tokens", "1,2,3", "--max_tokens", "4", "--ignore_eos"});
  EXPECT_EQ(by_name.exit_code, 0) << describe(by_name);
  EXPECT_FALSE(by_name.out.empty());
  EXPECT_EQ(by_name.out, by_path.out);

  const Outcome missing = exoc({"pull", "org/other"});
  EXPECT_EQ(missing.exit_code, 2) << describe(missing);
  ::unsetenv("HF_ENDPOINT");
  ::unsetenv("HF_HUB_CACHE");
}

}  // namespace
}  // namespace exo::testing
