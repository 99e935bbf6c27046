// The fuzzer's entry over a good file and mutations of it: cuts, changed bytes, swapped values. It aborts when it fails.
#include <random>

#include "tests/frontend/tokenizer/test_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace exo::tokenizer {
namespace {

using namespace testing;

void runEntry(const std::string& bytes) {
  EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
}

TEST(FuzzEntry, GoodFilesAndTheirCuts) {
  for (const char* name : {"llama3", "qwen"}) {
    const std::string good = readText(ownTokenizer(name) / "tokenizer.json");
    runEntry(good);
    for (size_t i = 0; i < 8; ++i) runEntry(good.substr(0, good.size() * i / 8));
  }
}

TEST(FuzzEntry, ChangedBytes) {
  const std::string good = tinyTokenizer({"a b", "ab c", "c d"}).dump();
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = good;
    for (int i = 0; i <= round % 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    runEntry(bytes);
  }
}

TEST(FuzzEntry, HandMadeComponents) {
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"decoder", R"({"type":"ByteLevel"})"},
      {"decoder", R"({"type":"Sequence","decoders":[{"type":"ByteLevel"},{"type":"Strip","content":"a","start":1023,"stop":1023}]})"},
      {"decoder", R"({"type":"Sequence","decoders":[{"type":"Strip","content":"a","start":1,"stop":1},{"type":"Fuse"},{"type":"Metaspace","replacement":"l"}]})"},
      {"pre_tokenizer", R"({"type":"Split","pattern":{"Regex":""},"behavior":"MergedWithNext","invert":true})"},
      {"pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"(?<=a)|(?=a)|$"},"behavior":"Contiguous","invert":false})"},
      {"pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"(((a+)+)+)+$"},"behavior":"MergedWithPrevious","invert":false})"},
      {"normalizer", R"({"type":"Replace","pattern":{"Regex":""},"content":"ab"})"},
      {"normalizer", R"({"type":"NFKD"})"},
      {"post_processor", R"({"type":"Sequence","processors":[]})"},
      {"added_tokens", R"([{"id":4000000,"content":" ","lstrip":true,"rstrip":true,"normalized":true,"special":true,"single_word":true}])"},
  };
  for (const auto& [key, value] : changes) {
    auto file = tinyTokenizer({"a b"});
    file[key] = nlohmann::json::parse(value);
    runEntry(file.dump());
  }
}

}  // namespace
}  // namespace exo::tokenizer
