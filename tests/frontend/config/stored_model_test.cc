#include "frontend/config/stored_model.h"

#include <gtest/gtest.h>

#include <fstream>

namespace exo {
namespace {

namespace fs = std::filesystem;

const fs::path kLlama = fs::path(EXO_TEST_DATA) / "golden" / "llama";

struct StoredModelTest : ::testing::Test {
  fs::path folder = fs::path(::testing::TempDir()) / ("exo_stored_" + std::to_string(::getpid()));
  void SetUp() override {
    fs::create_directories(folder / "a");
    fs::copy_file(kLlama / "config.json", folder / "a" / "config.json");
  }
  void TearDown() override { fs::remove_all(folder); }
  static void write(const fs::path& file, const std::string& bytes) { std::ofstream(file) << bytes; }
};

TEST_F(StoredModelTest, IsDescribedByItsFiles) {
  const auto model = describeStoredModel(kLlama);
  ASSERT_TRUE(model.ok()) << model.error();
  EXPECT_EQ(model->format, "safetensors");
  EXPECT_EQ(model->family, "llama");
  EXPECT_EQ(model->size_bytes, static_cast<int64_t>(fs::file_size(kLlama / "model.safetensors")));
  EXPECT_GT(model->parameters, 1000);
  EXPECT_GT(model->modified, 1'600'000'000);
  EXPECT_EQ(model->digest.size(), 64u);
}

TEST_F(StoredModelTest, OneWithoutWeightsIsNone) { EXPECT_EQ(describeStoredModel(folder / "a").error().code(), ErrorCode::kNotFound); }

TEST_F(StoredModelTest, TheDigestIsThatOfTheFiles) {
  write(folder / "a" / "model.safetensors", "one");
  const std::string first = describeStoredModel(folder / "a")->digest;
  EXPECT_EQ(describeStoredModel(folder / "a")->digest, first);
  write(folder / "a" / "model.safetensors", "three");
  EXPECT_NE(describeStoredModel(folder / "a")->digest, first);
  // In the hub's cache contents have names: the same wherever and whenever they were downloaded.
  fs::create_directories(folder / "blobs");
  write(folder / "blobs" / "abcd", "weights");
  fs::remove(folder / "a" / "model.safetensors");
  fs::create_symlink("../blobs/abcd", folder / "a" / "model.safetensors");
  const auto linked = describeStoredModel(folder / "a");
  ASSERT_TRUE(linked.ok());
  EXPECT_EQ(linked->size_bytes, 7);
  fs::last_write_time(folder / "blobs" / "abcd", fs::file_time_type::clock::now() - std::chrono::hours(5));
  EXPECT_EQ(describeStoredModel(folder / "a")->digest, linked->digest);
}

TEST(ParametersShown, AsPeopleSayThem) {
  EXPECT_EQ(parametersShown(596'049'920), "596M");
  EXPECT_EQ(parametersShown(1'235'814'400), "1.2B");
  EXPECT_EQ(parametersShown(70'553'706'496), "71B");
  EXPECT_EQ(parametersShown(1'500), "1.5K");
  EXPECT_EQ(parametersShown(0), "");
}

}  // namespace
}  // namespace exo
