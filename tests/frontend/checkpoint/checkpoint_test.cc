#include "frontend/checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include "tests/frontend/checkpoint/temporary_folder.h"

namespace exo {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(EXO_TEST_DATA) / "golden";

Checkpoint openGolden(const char* model) {
  auto checkpoint = Checkpoint::open(kGolden / model);
  EXO_CHECK(checkpoint.ok()) << checkpoint.error();
  return std::move(*checkpoint);
}

std::vector<float> readSlice(const TensorSource& source, const TensorRef& tensor, const TensorSlice& slice) {
  std::vector<float> values(static_cast<size_t>(slice.rows() * slice.columns()));
  const Status read = source.readRows(tensor, slice, values);
  EXPECT_TRUE(read.ok()) << read.error();
  return values;
}

// Expected values: decoded from the file's bytes with Python's struct module.
TEST(Checkpoint, ReadsSlicesOfBF16) {
  const Checkpoint llama = openGolden("llama");
  const TensorRef k_proj{"model.layers.1.self_attn.k_proj.weight", {64, 128}};
  EXPECT_EQ(readSlice(llama, k_proj, {3, 5, 5, 8}),
            (std::vector<float>{0.035400390625f, 0.21875f, 0.09716796875f, 0.0159912109375f, 0.031494140625f, 0.09521484375f}));
  EXPECT_TRUE(readSlice(llama, k_proj, {3, 3, 0, 128}).empty());
  const TensorRef norm{"model.norm.weight", {128}};
  EXPECT_EQ(readSlice(llama, norm, {0, 1, 0, 2}), (std::vector<float>{0.97265625f, 1.2578125f}));
  EXPECT_EQ(readSlice(llama, norm, {0, 1, 127, 128}), (std::vector<float>{1.0859375f}));
}

// Names of folders are no content; a file that was written to has another identity, whatever its size and times say.
TEST(Checkpoint, IdentityFollowsTheFiles) {
  const TemporaryFolder folder;
  const fs::path before = folder.path() / "before", after = folder.path() / "after", file = after / "model.safetensors";
  fs::create_directory(before);
  fs::copy_file(kGolden / "llama" / "model.safetensors", before / "model.safetensors");
  const std::string identity = Checkpoint::open(before)->identity();
  EXPECT_FALSE(identity.empty());
  EXPECT_EQ(Checkpoint::open(before)->identity(), identity);
  fs::rename(before, after);
  const auto opened = Checkpoint::open(after);
  EXPECT_EQ(opened->identity(), identity);

  const auto modified = fs::last_write_time(file);
  std::fstream writer(file, std::ios::in | std::ios::out | std::ios::binary);
  writer.seekp(-1, std::ios::end);
  writer.put('\x11');
  writer.close();
  fs::last_write_time(file, modified);
  EXPECT_EQ(opened->identity(), "") << "changed since it was opened";
  EXPECT_NE(Checkpoint::open(after)->identity(), identity);
  EXPECT_NE(Checkpoint::open(kGolden / "llama_sharded")->identity(), identity);
}

TEST(Checkpoint, ReadsShardsOfF32) {
  const Checkpoint sharded = openGolden("llama_sharded");
  EXPECT_EQ(sharded.names().size(), 29u);
  const TensorRef down{"model.layers.2.mlp.down_proj.weight", {128, 352}};
  EXPECT_EQ(readSlice(sharded, down, {10, 11, 100, 102}), (std::vector<float>{-0.05044424906373024f, -0.047321468591690063f}));
  EXPECT_EQ(sharded.find(down)->format, "F32");
}

TEST(Checkpoint, ColumnsAndRowsTogetherMakeTheWhole) {
  const Checkpoint qwen3 = openGolden("qwen3");
  const TensorRef q_proj{"model.layers.0.self_attn.q_proj.weight", {192, 128}};
  std::vector<float> whole(192 * 128);
  ASSERT_TRUE(qwen3.readAll(q_proj, whole).ok());
  for (const int64_t cut : {1, 17, 127}) {
    const auto left = readSlice(qwen3, q_proj, {0, 192, 0, cut}), right = readSlice(qwen3, q_proj, {0, 192, cut, 128});
    for (int64_t row = 0; row < 192; ++row)
      for (int64_t column = 0; column < 128; ++column)
        ASSERT_EQ(whole[static_cast<size_t>(row * 128 + column)],
                  column < cut ? left[static_cast<size_t>(row * cut + column)]
                               : right[static_cast<size_t>(row * (128 - cut) + column - cut)]);
  }
}

TEST(Checkpoint, ExpectedFilesOpenToo) {
  for (const char* model : {"llama", "llama_sharded", "mixtral", "qwen3", "qwen3_moe"}) {
    const auto expected = SafetensorsFile::open(kGolden / model / "expected.safetensors");
    ASSERT_TRUE(expected.ok()) << expected.error();
    const TensorView* logits = expected->find("prompt_2.logits");
    ASSERT_NE(logits, nullptr);
    EXPECT_EQ(logits->shape, (std::vector<int64_t>{33, 512}));
    EXPECT_EQ(expected->find("prompt_3.greedy")->dtype, DType::kI64);
    EXPECT_NE(expected->find("prompt_1.hidden_3"), nullptr);
  }
}

TEST(Checkpoint, NamesTheNearestTensorAndTheShapeFound) {
  const Checkpoint llama = openGolden("llama");
  const auto missing = llama.find({"model.layers.1.self_attn.k_prj.weight", {64, 128}});
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message().find("did you mean \"model.layers.1.self_attn.k_proj.weight\"?"), std::string::npos)
      << missing.error();
  const auto mismatch = llama.find({"model.layers.1.self_attn.k_proj.weight", {128, 64}});
  EXPECT_EQ(mismatch.error().code(), ErrorCode::kMismatch);
  EXPECT_NE(mismatch.error().message().find("expected shape [128, 64] as the configuration says, got [64, 128]"),
            std::string::npos);
  EXPECT_TRUE(llama.contains("lm_head.weight"));
  EXPECT_FALSE(openGolden("qwen3").contains("lm_head.weight"));
}

TEST(Checkpoint, RefusesOtherTypes) {
  const TemporaryFolder folder;
  const std::vector<int64_t> ids = {1};
  const std::vector<TensorToWrite> tensors = {TensorToWrite::i64("a", {1}, ids)};
  ASSERT_TRUE(writeSafetensors(folder.path() / "x.safetensors", tensors).ok());
  const auto checkpoint = Checkpoint::open(folder.path() / "x.safetensors");
  ASSERT_TRUE(checkpoint.ok());
  float value = 0.0f;
  const Status read = checkpoint->readAll({"a", {1}}, std::span(&value, 1));
  EXPECT_EQ(read.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(read.error().message().find("a: expected F32, BF16, F16, F64 or a known quantised form, got I64"), std::string::npos);
}

// Two shards, a and b; each case writes its own index.
class Index : public testing::Test {
 protected:
  Index() {
    const float one = 1.0f;
    for (const char* name : {"a", "b"}) {
      const std::vector<TensorToWrite> tensors = {TensorToWrite::f32(name, {1}, std::span(&one, 1))};
      EXPECT_TRUE(writeSafetensors(folder_.path() / (std::string(name) + ".safetensors"), tensors).ok());
    }
  }
  std::string refusal(const std::string& index) {
    folder_.write("model.safetensors.index.json", index);
    const auto checkpoint = Checkpoint::open(folder_.path());
    return checkpoint.ok() ? "" : checkpoint.error().message();
  }
  TemporaryFolder folder_;
};

TEST_F(Index, MustNameExistingFilesAndTensors) {
  EXPECT_EQ(refusal(R"({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})"), "");
  EXPECT_NE(refusal(R"({"weight_map": {"a": "a.safetensors", "b": "c.safetensors"}})").find("c.safetensors: cannot open"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"weight_map": {"a": "a.safetensors", "c": "b.safetensors"}})")
                .find("c: expected in b.safetensors, but no shard has it"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"weight_map": {"a": "b.safetensors", "b": "a.safetensors"}})")
                .find("a: expected in b.safetensors, got it in a.safetensors"),
            std::string::npos);
}

TEST_F(Index, MustBeWellFormed) {
  EXPECT_NE(refusal("{}").find("weight_map: expected an object"), std::string::npos);
  EXPECT_NE(refusal(R"({"weight_map": {}})").find("at least one tensor"), std::string::npos);
  EXPECT_NE(refusal(R"({"weight_map": {"a": 1}})").find("weight_map.a: expected a string"), std::string::npos);
  for (const char* path : {"../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ".", "", "a.safetensors\\u0000"})
    EXPECT_NE(refusal(R"({"weight_map": {"a": ")" + std::string(path) + "\"}}").find("a file name without a folder"),
              std::string::npos)
        << path;
}

TEST_F(Index, RefusesATensorInTwoShards) {
  fs::copy_file(folder_.path() / "a.safetensors", folder_.path() / "c.safetensors");
  EXPECT_NE(refusal(R"({"weight_map": {"a": "a.safetensors", "b": "c.safetensors"}})").find("each tensor in one shard"),
            std::string::npos);
}

TEST(Checkpoint, RefusesAFolderWithoutWeights) {
  const TemporaryFolder folder;
  EXPECT_EQ(Checkpoint::open(folder.path()).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(Checkpoint::open(folder.path() / "none").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace exo
