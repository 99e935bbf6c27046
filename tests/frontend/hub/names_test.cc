// Names of repositories and files, which files are taken, and the environment's variables.
#include <gtest/gtest.h>

#include <cstdlib>

#include "frontend/hub/environment.h"
#include "frontend/hub/selection.h"

namespace exo::hub {
namespace {

std::vector<RemoteFile> files(const std::vector<std::string>& paths) {
  std::vector<RemoteFile> files;
  for (const std::string& path : paths) files.push_back({.path = path});
  return files;
}

std::string selected(const std::vector<std::string>& paths, const std::string& spec = "org/name") {
  auto selected = selectFiles(files(paths), *parseRepository(spec));
  if (!selected.ok()) return selected.error().message();
  std::string names;
  for (const RemoteFile& file : *selected) names += file.path + " ";
  return names;
}

TEST(HubNames, RepositoriesHaveOneSlashAndMayHaveVariantAndRevision) {
  const auto plain = parseRepository("Qwen/Qwen3-0.6B");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->id(), "Qwen/Qwen3-0.6B");
  EXPECT_EQ(plain->revision, "main");
  const auto full = parseRepository("org/na.me_x:Q4_K_M@v1.0");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->name, "na.me_x");
  EXPECT_EQ(full->variant, "Q4_K_M");
  EXPECT_EQ(full->revision, "v1.0");
  for (const char* bad : {"", "qwen3-0.6b", "a/b/c", "./plan", "../b", "a/..", "a/b c", "/a", "a/", "a/b@", "a/b:", "-a/b", "a/b@../x", "a--b/c"}) EXPECT_FALSE(parseRepository(bad)) << bad;
}

TEST(HubNames, NoPathLeadsOutOfItsFolder) {
  for (const char* good : {"config.json", "a/b/c.safetensors", "..a", "a..b/c"}) EXPECT_TRUE(checkPath(good).ok()) << good;
  for (const char* bad : {"", "/etc/passwd", "a/../b", "..", "a/..", "./a", "a//b", "a/", "a\\b", "a\nb"}) EXPECT_FALSE(checkPath(bad).ok()) << bad;
}

TEST(HubNames, SafetensorsComeWithTheirTextsAndWithoutOtherCopies) {
  EXPECT_EQ(selected({"README.md", "chat_template.jinja", "config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                      "model.safetensors.index.json", "onnx/config.json", "original/model.safetensors", "pytorch_model.bin"}),
            "chat_template.jinja config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json ");
  EXPECT_EQ(selected({"config.json", "weights.safetensors"}), "config.json weights.safetensors ");
}

TEST(HubNames, GgufIsTakenByVariantWithAllItsParts) {
  const std::vector<std::string> repository = {"README.md", "M-IQ4_XS.gguf", "M-Q4_K_M.gguf", "big/M-Q8_0-00001-of-00002.gguf", "big/M-Q8_0-00002-of-00002.gguf"};
  EXPECT_EQ(selected(repository, "org/name:q4_k_m"), "M-Q4_K_M.gguf ");
  EXPECT_EQ(selected(repository, "org/name:Q8_0"), "big/M-Q8_0-00001-of-00002.gguf big/M-Q8_0-00002-of-00002.gguf ");
  EXPECT_NE(selected(repository).find("say which"), std::string::npos);
  EXPECT_NE(selected(repository, "org/name:4_XS").find("0 GGUF files are called \"4_XS\""), std::string::npos) << "IQ4_XS is another";
  EXPECT_EQ(selected({"M.gguf", "config.json"}), "M.gguf ");
  EXPECT_NE(selected({"pytorch_model.bin"}).find("expected safetensors or GGUF"), std::string::npos);
}

/// Sets variables for one test.
class HubEnvironment : public ::testing::Test {
 protected:
  HubEnvironment() {
    for (const char* name : {"HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "HOME"}) {
      if (const char* value = std::getenv(name)) before_.emplace_back(name, value);
      ::unsetenv(name);
    }
  }
  ~HubEnvironment() override {
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::vector<std::pair<std::string, std::string>> before_;
};

TEST_F(HubEnvironment, TheCacheIsWhereTheFirstVariableSays) {
  EXPECT_FALSE(Environment::read().ok()) << "no folder can be named";
  const auto cache = [](const char* name, const char* value) {
    ::setenv(name, value, 1);
    return Environment::read()->cache.string();
  };
  EXPECT_EQ(cache("HOME", "/h"), "/h/.cache/huggingface/hub");
  EXPECT_EQ(cache("XDG_CACHE_HOME", "/x"), "/x/huggingface/hub");
  EXPECT_EQ(cache("HF_HOME", "/f"), "/f/hub");
  EXPECT_EQ(cache("HUGGINGFACE_HUB_CACHE", "/g"), "/g");
  EXPECT_EQ(cache("HF_HUB_CACHE", "/c"), "/c");
}

TEST_F(HubEnvironment, EndpointTokenAndOffline) {
  ::setenv("HOME", "/h", 1);
  EXPECT_EQ(Environment::read()->endpoint, "https://huggingface.co");
  ::setenv("HF_ENDPOINT", "http://127.0.0.1:80//", 1);
  ::setenv("HF_TOKEN", "t", 1);
  ::setenv("HF_HUB_OFFLINE", "yes", 1);
  const auto environment = Environment::read();
  ASSERT_TRUE(environment.ok());
  EXPECT_EQ(environment->endpoint, "http://127.0.0.1:80");
  EXPECT_EQ(environment->token, "t");
  EXPECT_TRUE(environment->offline);
  ::setenv("HF_ENDPOINT", "ftp://x", 1);
  EXPECT_FALSE(Environment::read().ok());
}

}  // namespace
}  // namespace exo::hub
