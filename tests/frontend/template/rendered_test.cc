// Differential: what transformers rendered. The released templates and the golden directories come from the folder EXO_SHARED
// names; our own cases, one feature each, from tests/data/templates (made by generate.py there with python3-jinja2).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <sstream>

#include "frontend/template/chat_template.h"

namespace exo {
namespace {

using Json = nlohmann::ordered_json;

Json readJson(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file, nullptr, false);
}

std::string sharedFolder() {
  const char* folder = std::getenv("EXO_SHARED");
  return folder != nullptr ? folder : "";
}

ChatTemplate::Limits limitsOn(const std::string& date) {
  std::tm now = {};
  std::istringstream(date) >> std::get_time(&now, "%Y-%m-%d");
  std::mktime(&now);
  ChatTemplate::Limits limits;
  limits.now = now;
  return limits;
}

Result<std::string> renderSource(const std::string& source, const Json& variables, const std::string& date) {
  EXO_ASSIGN(ChatTemplate chat_template, ChatTemplate::parse(source));
  return chat_template.render(variables, limitsOn(date));
}

/// "TemplateError('System role not supported')" → the part in quotes.
std::string quotedPart(const std::string& error) {
  size_t begin = error.find_first_of("'\""), end = error.find_last_of(")");
  return error.substr(begin + 1, end - begin - 2);
}

TEST(Rendered, ReleasedTemplatesAsTransformers) {
  std::string folder = sharedFolder();
  if (folder.empty()) GTEST_SKIP() << "EXO_SHARED is not set: the released templates are not compared";
  std::string base = folder + "/tokenizers/chat_templates/";
  Json rendered = readJson(base + "rendered.json");
  ASSERT_TRUE(rendered.is_object()) << base;
  size_t num_cases = 0;
  for (const auto& test : rendered["cases"]) {
    std::string name = test["template"].get<std::string>() + "/" + test["conv"].get<std::string>();
    auto source = loadChatTemplate(base + test["template"].get<std::string>());
    ASSERT_TRUE(source.ok()) << source.error();
    Json variables = {{"messages", test["messages"]}, {"add_generation_prompt", test["add_generation_prompt"]},
                      {"bos_token", test["bos_token"]}, {"eos_token", test["eos_token"]}};
    if (!test["kwargs"].contains("tools")) variables["tools"] = nullptr;
    variables.update(test["kwargs"]);
    auto got = renderSource(*source, variables, rendered["rendered_on"]);
    if (test["error"].is_null()) {
      ASSERT_TRUE(got.ok()) << name << ": " << got.error();
      EXPECT_EQ(*got, test["rendered"].get<std::string>()) << name;
    } else {
      ASSERT_FALSE(got.ok()) << name << " rendered " << *got << " instead of " << test["error"];
      EXPECT_NE(got.error().message().find(quotedPart(test["error"])), std::string::npos) << name << ": " << got.error() << " vs " << test["error"];
    }
    ++num_cases;
  }
  EXPECT_GE(num_cases, 96u);
}

TEST(Rendered, GoldenDirectories) {
  std::string folder = sharedFolder();
  if (folder.empty()) GTEST_SKIP() << "EXO_SHARED is not set: the golden directories are not compared";
  size_t num_chats = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/golden")) {
    Json expected = readJson(entry.path() / "tokenizer_expected.json");
    if (!expected.is_object() || !expected.contains("chat") || expected["chat"].is_null()) continue;
    auto source = loadChatTemplate(entry.path());
    ASSERT_TRUE(source.ok()) << source.error();
    Json config = readJson(entry.path() / "tokenizer_config.json");
    Json variables = {{"messages", expected["chat"]["messages"]}, {"add_generation_prompt", true}, {"bos_token", config.value("bos_token", Json())}};
    auto got = renderSource(*source, variables, "2026-01-01");
    ASSERT_TRUE(got.ok()) << entry.path() << got.error();
    EXPECT_EQ(*got, expected["chat"]["rendered"].get<std::string>()) << entry.path();
    ++num_chats;
  }
  EXPECT_GE(num_chats, 10u);
}

TEST(Rendered, OwnCasesAsJinja) {
  Json file = readJson(EXO_TEST_DATA "/templates/expected.json");
  ASSERT_TRUE(file.is_object()) << EXO_TEST_DATA "/templates/expected.json";
  for (const auto& test : file["cases"]) {
    std::string source = test["template"];
    Json variables = file["variables"];
    variables.update(test.value("variables", Json::object()));
    auto got = renderSource(source, variables, file["date"]);
    if (test.contains("rendered")) {
      EXPECT_TRUE(got.ok()) << source << "\n" << got.error() << "\nexpected " << test["rendered"];
      if (!got.ok()) continue;
      EXPECT_EQ(*got, test["rendered"].get<std::string>()) << source;
    } else {
      EXPECT_FALSE(got.ok()) << source << "\nrendered " << *got << "\ninstead of " << test["error"];
      if (!got.ok() && test["compares_message"].get<bool>()) {
        EXPECT_NE(got.error().message().find(test["error"].get<std::string>()), std::string::npos) << source << "\n" << got.error() << "\nvs " << test["error"];
      }
    }
  }
  EXPECT_GE(file["cases"].size(), 150u);
}

}  // namespace
}  // namespace exo
