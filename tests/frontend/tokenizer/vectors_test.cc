// Ids and texts of the reference implementation, over every tokenizer in $EXO_SHARED (third-party vocabularies).
#include <chrono>
#include <iostream>

#include "tests/frontend/tokenizer/test_files.h"

namespace exo::tokenizer {
namespace {

using namespace testing;
using Ids = std::vector<int32_t>;

#define SHARED_OR_SKIP(folder)                                                                              \
  const auto shared = sharedFolder();                                                                       \
  if (!shared) GTEST_SKIP() << "EXO_SHARED is not set: third-party tokenizers were NOT checked";            \
  const auto folder = *shared

class Vectors : public ::testing::TestWithParam<const char*> {};

TEST_P(Vectors, IdsAndTextsAreExact) {
  SHARED_OR_SKIP(folder) / "tokenizers" / GetParam();
  const auto begin = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::load(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message();
  const std::chrono::duration<double, std::milli> load_ms = std::chrono::steady_clock::now() - begin;
  std::cout << GetParam() << ": loaded in " << load_ms.count() << " ms\n";
  EXPECT_LT(load_ms.count(), 20'000);  // the goal is 1 s for a release build; sanitizers and busy machines are slower

  const auto cases = readJson(folder / "vectors.json")["cases"];
  ASSERT_GE(cases.size(), 343u);
  for (const auto& c : cases) {
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<Ids>();
    EXPECT_EQ(mustEncode(*tokenizer, text), ids) << "text: " << text;
    const Ids with_special = c["ids_with_special"].is_null() ? ids : c["ids_with_special"].get<Ids>();
    EXPECT_EQ(mustEncode(*tokenizer, text, AddSpecial::kYes), with_special) << "text: " << text;
    EXPECT_EQ(tokenizer->decode(ids, SkipSpecial::kNo), c["decoded"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(All, Vectors,
                         ::testing::Values("llama3", "qwen2", "o200k_gpt_oss", "deepseek_v3", "llama2", "mistral_v3_spm", "phi3"),
                         [](const auto& info) { return std::string(info.param); });

struct LlamaCppCase {
  const char* vocab;
  const char* directory;
};
void PrintTo(const LlamaCppCase& c, std::ostream* out) { *out << c.vocab << " by " << c.directory; }

class LlamaCppVectors : public ::testing::TestWithParam<LlamaCppCase> {};

/// Texts in the .inp file stand between "\n__ggml_vocab_test__\n"; the .out file has one line of ids per text.
std::vector<std::string> textsOf(const std::string& file) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  size_t begin = 0;
  for (size_t end = file.find(separator); end != std::string::npos; end = file.find(separator, begin)) {
    texts.push_back(file.substr(begin, end - begin));
    begin = end + separator.size();
  }
  return texts;
}

TEST_P(LlamaCppVectors, IdsAreExact) {
  SHARED_OR_SKIP(folder) / "tokenizers";
  const auto tokenizer = Tokenizer::load(folder / GetParam().directory);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message();
  const std::string stem = std::string("ggml-vocab-") + GetParam().vocab + ".gguf";
  const auto texts = textsOf(readText(folder / "llama_cpp_vocab" / (stem + ".inp")));
  std::istringstream lines(readText(folder / "llama_cpp_vocab" / (stem + ".out")));
  ASSERT_GE(texts.size(), 40u);
  for (const std::string& text : texts) {
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    std::istringstream numbers(line);
    const Ids expected((std::istream_iterator<int32_t>(numbers)), std::istream_iterator<int32_t>());
    EXPECT_EQ(mustEncode(*tokenizer, text), expected) << "text: " << text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LlamaCppVectors,
                         ::testing::Values(LlamaCppCase{"llama-bpe", "llama3"}, LlamaCppCase{"qwen2", "qwen2"},
                                           LlamaCppCase{"deepseek-r1-qwen", "qwen2"}, LlamaCppCase{"llama-spm", "llama2"},
                                           LlamaCppCase{"phi-3", "phi3"}));

void checkExpectedFile(const std::filesystem::path& directory) {
  const auto tokenizer = Tokenizer::load(directory);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message();
  const auto expected = readJson(directory / "tokenizer_expected.json");
  ASSERT_FALSE(expected["cases"].empty());
  for (const auto& c : expected["cases"]) {
    const auto text = c["text"].get<std::string>();
    EXPECT_EQ(mustEncode(*tokenizer, text), c["ids"].get<Ids>()) << text;
    EXPECT_EQ(mustEncode(*tokenizer, text, AddSpecial::kYes), c["ids_with_special"].get<Ids>()) << text;
    EXPECT_EQ(tokenizer->decode(c["ids"].get<Ids>(), SkipSpecial::kNo), text);
  }
}

TEST(ExpectedIds, OwnTokenizers) {
  for (const char* name : {"llama3", "qwen"}) checkExpectedFile(ownTokenizer(name));
}

TEST(ExpectedIds, GoldenDirectories) {
  SHARED_OR_SKIP(golden) / "golden";
  size_t num_checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden)) {
    if (!std::filesystem::exists(entry.path() / "tokenizer_expected.json")) continue;
    SCOPED_TRACE(entry.path());
    checkExpectedFile(entry.path());
    ++num_checked;
  }
  EXPECT_GE(num_checked, 10u);
}

// expected.json of the trained models: the prompt's ids and the text of what the model answered.
TEST(ExpectedIds, TrainedModels) {
  SHARED_OR_SKIP(trained) / "trained";
  for (const char* name : {"stories260K_hf", "story_hf"}) {
    SCOPED_TRACE(name);
    const auto tokenizer = Tokenizer::load(trained / name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message();
    const auto prompts = readJson(trained / name / "expected.json")["prompts"];
    ASSERT_FALSE(prompts.empty());
    for (const auto& prompt : prompts) {
      EXPECT_EQ(mustEncode(*tokenizer, prompt["text"].get<std::string>(), AddSpecial::kYes), prompt["input_ids"].get<Ids>());
    }
  }
}

}  // namespace
}  // namespace exo::tokenizer
