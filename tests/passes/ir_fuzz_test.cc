// The fuzzing entry over mutations of the test graphs, so that every build runs it a little.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace exo {
namespace {

/// The sections of the test files.
std::vector<std::string> corpus() {
  std::vector<std::string> texts;
  std::vector<std::filesystem::path> files;
  for (const char* folder : {EXO_TEST_SOURCE, EXO_TEST_SOURCE "/../ir"}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".exoir") files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream file(path);
    std::string line, text;
    while (std::getline(file, line)) {
      if (line.starts_with("//---") || line.starts_with("// ---")) texts.push_back(std::move(text)), text.clear();
      else if (!line.starts_with("//")) text += line + "\n";
    }
    texts.push_back(text);
  }
  return texts;
}

void run(const std::string& text) { LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size()); }

TEST(IrFuzz, TestGraphs) {
  const auto texts = corpus();
  EXPECT_GT(texts.size(), 100u);
  for (const std::string& text : texts) run(text);
}

/// Numbers and words of one graph replaced by those of others: mostly parsable.
TEST(IrFuzz, MutatedGraphs) {
  const auto texts = corpus();
  std::mt19937_64 random(7);
  const std::vector<std::string> tokens = {"0", "1", "2", "3", "1099511627776", "-1", "T", "R", "%x", "@w", "%t", "add", "kv_append", "all_reduce", "tp = 3", "w4", "x8", "}", "{", "true"};
  for (int i = 0; i < 4000; ++i) {
    std::string text = texts[random() % texts.size()];
    for (int m = static_cast<int>(random() % 3); m >= 0 && !text.empty(); --m) {
      size_t at = random() % text.size();
      while (at < text.size() && !std::isalnum(static_cast<unsigned char>(text[at]))) ++at;
      size_t end = at;
      while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end]))) ++end;
      const std::string& other = texts[random() % texts.size()];
      switch (random() % 4) {
        case 0: text.replace(at, end - at, tokens[random() % tokens.size()]); break;
        case 1: text.erase(at, end - at); break;
        case 2: text.replace(at, end - at, std::to_string(random() % 70)); break;
        case 3: text.insert(at, other.substr(random() % (other.size() + 1), random() % 60)); break;
      }
    }
    run(text);
  }
}

}  // namespace
}  // namespace exo
