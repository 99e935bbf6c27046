#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "frontend/template/chat_template.h"

namespace exo {
namespace {

class LoadChatTemplate : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "exo_template_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void write(const char* name, const std::string& text) { std::ofstream(directory_ / name) << text; }
  Result<std::string> load() { return loadChatTemplate(directory_.string()); }

  std::filesystem::path directory_;
};

TEST_F(LoadChatTemplate, PrefersTheJinjaFileThenTheConfigThenChatTemplateJson) {
  write("chat_template.json", R"({"chat_template": "third"})");
  EXPECT_EQ(*load(), "third");
  write("tokenizer_config.json", R"({"chat_template": "second"})");
  EXPECT_EQ(*load(), "second");
  write("chat_template.jinja", "first\n");
  EXPECT_EQ(*load(), "first\n");
}

TEST_F(LoadChatTemplate, TakesTheDefaultOfAList) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(*load(), "d");
}

TEST_F(LoadChatTemplate, ListWithoutDefaultIsNotFound) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "r"}]})");
  auto loaded = load();
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code(), ErrorCode::kNotFound);
}

TEST_F(LoadChatTemplate, NoneIsNotFoundAndSaysWhereItLooked) {
  write("tokenizer_config.json", R"({"chat_template": null})");
  auto loaded = load();
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(loaded.error().message().find("chat_template.jinja"), std::string::npos);
}

TEST_F(LoadChatTemplate, BadFilesAreErrorsNamingTheFile) {
  for (const char* text : {"{", "[]", R"({"chat_template": 5})", R"({"chat_template": [5]})"}) {
    write("tokenizer_config.json", text);
    auto loaded = load();
    ASSERT_FALSE(loaded.ok()) << text;
    EXPECT_NE(loaded.error().message().find("tokenizer_config.json"), std::string::npos) << loaded.error();
  }
}

}  // namespace
}  // namespace exo
