#include "executor/serve/dialects/front.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/executor/serve/http/client.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

TEST(Front, OpensItselfToOthersOnlyWhenTold) {
  EXPECT_TRUE(frontSettings({.address = "127.0.0.1:0"}).ok());
  EXPECT_TRUE(frontSettings({.address = "[::1]:52415"}).ok());
  for (const char* address : {"0.0.0.0:1", "10.0.0.1:52415", "[::]:52415"}) {
    const auto refused = frontSettings({.address = address});
    ASSERT_FALSE(refused.ok()) << address;
    EXPECT_NE(refused.error().message().find("--api_key_file"), std::string::npos);
    EXPECT_TRUE(frontSettings({.address = address, .without_key = true}).ok());
  }
  const std::string file = ::testing::TempDir() + "exo_front_keys";
  std::ofstream(file) << "a-long-enough-key\n";
  EXPECT_EQ(frontSettings({.address = "0.0.0.0:1", .api_key_file = file})->access.keys.size(), 1u);
  std::filesystem::remove(file);
}

TEST(Front, RefusesWhatIsNoAddress) {
  for (const char* address : {"", "52415", "127.0.0.1", "localhost:1", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:1x", "[::1:5"}) EXPECT_FALSE(frontSettings({.address = address}).ok()) << address;
  EXPECT_FALSE(frontSettings({.address = "127.0.0.1:1", .api_key_file = "/nowhere/keys"}).ok());
}

TEST(Front, AnswersAtItsUrl) {
  testing::ScriptedEngine engine(testing::testModel(testing::kPlainTemplate));
  auto settings = frontSettings({.address = "127.0.0.1:0", .origins = "https://a.example,https://b.example", .hosts = "desk.lan"});
  EXPECT_EQ(settings->access.origins, (std::vector<std::string>{"https://a.example", "https://b.example"}));
  const ClusterState state({}, nullptr, engine.model(), "test", 0);
  const auto front = Front::open(engine, state, *settings);
  ASSERT_TRUE(front.ok());
  const std::string url = (*front)->url();
  ASSERT_TRUE(url.starts_with("http://127.0.0.1:")) << url;
  const auto port = static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  EXPECT_EQ(testing::Client(port).ask(testing::get("/health")).status, 200);
  (*front)->drain(std::chrono::seconds(5));
  EXPECT_FALSE(testing::Client(port).connected());
}

}  // namespace
}  // namespace exo::serve
