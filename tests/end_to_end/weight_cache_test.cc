// Packed weights kept between runs of the real programs: found again, rebuilt when damaged, packed once by two runs at a time.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/end_to_end/program.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

/// 27 MB in f32: what is smaller is not kept.
const json kConfig = {{"model_type", "llama"},      {"hidden_size", 512},        {"intermediate_size", 1408}, {"num_hidden_layers", 2},
                      {"num_attention_heads", 8},   {"num_key_value_heads", 2},  {"vocab_size", 600},         {"hidden_act", "silu"},
                      {"max_position_embeddings", 256}, {"rms_norm_eps", 1e-5}, {"rope_theta", 10000.0},      {"tie_word_embeddings", true},
                      {"torch_dtype", "float32"}};

class KeptWeights : public ::testing::Test {
 protected:
  void SetUp() override { writeFile(folder_ / "config.json", kConfig.dump()); }

  Words command(const std::string& out, const std::string& cache) const {
    return exocWords({"run", (folder_ / "config.json").string(), "--quant", "f32", "--random_weights", "7", "--tokens", "5,17,42", "--max_tokens", "8", "--ignore_eos", "--threads", "1",
                      "--tokens_out", (folder_ / out).string(), "--weight_cache_dir", cache});
  }
  /// The tokens of a run that went well, as text.
  std::string run(const std::string& cache) {
    const Outcome outcome = Program(command("tokens.json", cache)).wait(60s);
    EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
    err_ = outcome.err;
    return readFile(folder_ / "tokens.json");
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> result;
    for (const auto& entry : fs::directory_iterator(folder_ / "cache")) result.push_back(entry.path());
    return result;
  }
  static ino_t inode(const fs::path& path) {
    struct stat status = {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_ino;
  }

  Folder folder_;
  std::string err_;
};

TEST_F(KeptWeights, AreFoundAgainAndRebuiltWhenDamaged) {
  const std::string expected = run("none"), cache = (folder_ / "cache").string();
  EXPECT_EQ(run(cache), expected);
  ASSERT_EQ(files().size(), 1u);
  const fs::path file = files()[0];
  const ino_t first = inode(file);
  EXPECT_EQ(run(cache), expected);
  EXPECT_EQ(inode(file), first) << "packed again";
  std::string bytes = readFile(file);
  bytes[bytes.size() - 1000000] ^= 1;
  writeFile(file, bytes);
  EXPECT_EQ(run(cache), expected);
  EXPECT_NE(err_.find("its weights are damaged"), std::string::npos) << err_;
  EXPECT_EQ(run(cache), expected);
  EXPECT_EQ(err_.find("damaged"), std::string::npos) << err_;
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(KeptWeights, OfTwoRunsAtOnceAreTheSame) {
  const std::string expected = run("none"), cache = (folder_ / "cache").string();
  Program one(command("one.json", cache)), two(command("two.json", cache));
  const Outcome first = one.wait(60s), second = two.wait(60s);
  EXPECT_EQ(first.exit_code, 0) << describe(first);
  EXPECT_EQ(second.exit_code, 0) << describe(second);
  EXPECT_EQ(readFile(folder_ / "one.json"), expected);
  EXPECT_EQ(readFile(folder_ / "two.json"), expected);
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(KeptWeights, AreNotNeeded) {
  const std::string expected = run("none");
  writeFile(folder_ / "file", "no directory");
  EXPECT_EQ(run((folder_ / "file" / "cache").string()), expected);
  EXPECT_NE(err_.find("packed weights are not kept"), std::string::npos) << err_;
}

}  // namespace
}  // namespace exo::testing
