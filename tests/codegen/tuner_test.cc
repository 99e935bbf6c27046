// The tuner: no candidate changes a bit; what it chose is remembered, and only trusted where it was written so.
#include <filesystem>
#include <fstream>
#include <set>

#include "codegen/compile.h"
#include "codegen/object_cache.h"
#include "codegen/tuner.h"
#include "kernel_harness.h"

namespace exo::codegen {
namespace {

using program::Kernel;

Kernel product(program::Encoding weight, int64_t n, int64_t k) {
  Kernel kernel;
  kernel.set_op(Kernel::MATMUL);
  kernel.set_weight(weight);
  kernel.set_input(program::X8);
  kernel.set_n(static_cast<uint64_t>(n));
  kernel.set_k(static_cast<uint64_t>(k));
  return kernel;
}

// ---- bits

class Candidates : public testing::TestWithParam<Isa> {};

TEST_P(Candidates, GiveTheSameBits) {
  const int64_t n = 150, k = 2200;  // more than a block of columns
  for (const TunerChoice& choice : tunerChoices()) {
    const Kernel kernel = product(choice.weight, n, k);
    const PackedWeight w = packWeight(choice.weight, n, k, 3);
    for (int value : choice.values) {
      Target target = std::move(Target::forHost(GetParam())).value();
      if (target.loops(choice.weight).*choice.field == value) continue;
      target.loops(choice.weight).*choice.field = value;
      const auto jit = std::move(createJit(std::move(target), "")).value();
      for (int64_t rows : {1, 3, 24, 101}) {
        const Memory x = quantiseRows(GetParam(), randomFloats(rows * k, 5), rows, k);
        const auto result = [&](Jit& by) {
          Memory out(rows * n * 4);
          runKernel(by, kernel, {.rows = rows, .in = {x.data(), w.packed.data()}, .out = {out.data()}}, 1);
          EXPECT_TRUE(out.guardIntact());
          return out.as<float>();
        };
        EXPECT_EQ(result(*jit), result(jitFor(GetParam()))) << choice.name << " " << value << ", " << rows << " rows of " << program::Encoding_Name(choice.weight);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Host, Candidates, testing::ValuesIn(hostIsas()), [](const auto& info) {
  std::string text = name(info.param);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
});

TEST(Candidates, HaveObjectsOfTheirOwn) {
  for (const TunerChoice& choice : tunerChoices()) {
    const Unit panels = unitsOf(product(choice.weight, 16, 64))[1];
    std::set<std::string> keys;
    for (int value : choice.values) {
      Target target = Target::of(Isa::kAvx2);
      target.loops(choice.weight).*choice.field = value;
      keys.insert(cacheKey(panels, target));
    }
    EXPECT_EQ(keys.size(), choice.values.size()) << choice.name;
  }
}

// ---- remembering

class Tuner : public testing::Test {
 protected:
  void SetUp() override { directory_ = std::filesystem::temp_directory_path() / ("exo-tuner-test-" + std::to_string(std::random_device()())); }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// Q8 has one choice and many bytes, so that kAuto cares; nothing is allocated for them.
  std::vector<std::string> tune(Tune mode, int threads = 1, bool cached = true) {
    const Kernel kernel = product(program::Q8, 1 << 16, 2048);
    const Kernel* one[] = {&kernel};
    auto tuned = createTunedJit({.mode = mode, .threads = threads, .cache_dir = cached ? directory_.string() : ""}, one);
    EXO_CHECK(tuned.ok()) << tuned.error();
    EXPECT_TRUE(tuned->jit->compile(one).ok());
    return tuned->report;
  }
  static bool says(const std::vector<std::string>& report, const std::string& word) { return report.size() == 1 && report[0].find(word) != std::string::npos; }

  /// The file with what was chosen: it is the only one whose key begins so.
  std::filesystem::path memory() const {
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(in)), {});
      if (bytes.find("loops of ") != std::string::npos) return entry.path();
    }
    return {};
  }
  std::filesystem::path directory_;
};

TEST_F(Tuner, RemembersWhatItMeasured) {
  const auto first = tune(Tune::kFull);
  ASSERT_TRUE(says(first, "loops for Q8 weights on 1 threads: stream_prefetch ")) << testing::PrintToString(first);
  ASSERT_TRUE(says(first, "(measured)")) << testing::PrintToString(first);
  const auto again = tune(Tune::kAuto);
  ASSERT_TRUE(says(again, "(remembered)")) << testing::PrintToString(again);
  const std::string value = first[0].substr(first[0].find("stream_prefetch "), 20), kept = again[0].substr(again[0].find("stream_prefetch "), 20);
  EXPECT_EQ(value, kept);
  EXPECT_FALSE(says(tune(Tune::kAuto, 2), "(remembered)")) << "for another number of threads";
}

TEST_F(Tuner, DamagedMemoryIsNone) {
  tune(Tune::kFull);
  const auto path = memory();
  ASSERT_FALSE(path.empty());
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-2, std::ios::end);
    file.put('7');
  }
  EXPECT_FALSE(says(tune(Tune::kAuto), "(remembered)"));
  EXPECT_TRUE(says(tune(Tune::kFull), "(measured)"));
  EXPECT_TRUE(says(tune(Tune::kAuto), "(remembered)")) << "it was written anew";
}

TEST_F(Tuner, ValuesThatAreNoCandidatesAreNotTaken) {
  tune(Tune::kFull);
  std::ifstream in(memory(), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  const size_t key_begin = bytes.find("loops of ");
  uint64_t key_bytes = 0;
  std::memcpy(&key_bytes, bytes.data() + 8, 8);
  const ObjectCache cache(directory_);
  for (const char* text : {"1000000\n", "-1\n", "", "words\n"}) {
    cache.store(bytes.substr(key_begin, key_bytes), text);
    EXPECT_FALSE(says(tune(Tune::kAuto, 1), "(remembered)")) << text;
  }
}

TEST_F(Tuner, OffAndWithoutAPlaceToRememberNothingIsMeasured) {
  EXPECT_TRUE(tune(Tune::kOff).empty());
  EXPECT_EQ(memory(), std::filesystem::path());
  EXPECT_TRUE(tune(Tune::kAuto, 1, false).empty());
  EXPECT_TRUE(says(tune(Tune::kFull, 1, false), "(measured)"));
}

TEST_F(Tuner, SmallModelsAreLeftAlone) {
  const Kernel kernel = product(program::Q4, 512, 512);
  const Kernel* one[] = {&kernel};
  const auto tuned = createTunedJit({.mode = Tune::kAuto, .cache_dir = directory_}, one);
  ASSERT_TRUE(tuned.ok());
  EXPECT_TRUE(tuned->report.empty());
}

TEST(TuneModes, Names) {
  EXPECT_EQ(*parseTune("off"), Tune::kOff);
  EXPECT_EQ(*parseTune("auto"), Tune::kAuto);
  EXPECT_EQ(*parseTune("full"), Tune::kFull);
  EXPECT_NE(parseTune("fast").error().message().find("expected off, auto or full, got \"fast\""), std::string::npos);
}

}  // namespace
}  // namespace exo::codegen
