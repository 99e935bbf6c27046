// Parts of kv_b_proj by head: the same numbers as in the whole, in other places; and what is refused.
#include "frontend/checkpoint/latent_heads.h"

#include <gtest/gtest.h>

#include "frontend/checkpoint/checkpoint.h"
#include "tests/frontend/checkpoint/temporary_folder.h"

namespace exo {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(EXO_TEST_DATA) / "golden";

std::vector<float> read(const Checkpoint& checkpoint, const TensorRef& tensor, const TensorSlice& slice) {
  std::vector<float> values(static_cast<size_t>(slice.rows() * slice.columns()));
  const Status status = checkpoint.readRows(tensor, slice, values);
  EXPECT_TRUE(status.ok()) << status.error();
  return values;
}

/// H heads, K key rows and V value rows of each, L latent dimensions.
void expectParts(const char* model, int64_t H, int64_t K, int64_t V, int64_t L) {
  SCOPED_TRACE(model);
  const auto checkpoint = Checkpoint::open(kGolden / model);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  const std::string path = "model.layers.1.self_attn.kv_b_proj";
  const TensorRef whole{path + ".weight", {H * (K + V), L}};
  const std::vector<float> all = read(*checkpoint, whole, TensorSlice::all(whole));
  for (int64_t head : {int64_t{0}, H - 1}) {
    const std::string own = path + ".heads." + std::to_string(head);
    const TensorRef key{own + ".key.weight", {L, K}}, value{own + ".value.weight", {V, L}};
    const std::vector<float> keys = read(*checkpoint, key, TensorSlice::all(key)), values = read(*checkpoint, value, TensorSlice::all(value));
    for (int64_t l = 0; l < L; ++l) {
      for (int64_t k = 0; k < K; ++k) ASSERT_EQ(keys[static_cast<size_t>(l * K + k)], all[static_cast<size_t>((head * (K + V) + k) * L + l)]) << l << " " << k;
    }
    EXPECT_EQ(values, (std::vector<float>{all.begin() + (head * (K + V) + K) * L, all.begin() + (head + 1) * (K + V) * L}));
    EXPECT_EQ(read(*checkpoint, key, {3, 4, 5, 7}), (std::vector<float>{keys[static_cast<size_t>(3 * K + 5)], keys[static_cast<size_t>(3 * K + 6)]})) << "a rectangle";
  }
  EXPECT_FALSE(checkpoint->contains(path + ".heads." + std::to_string(H) + ".key.weight"));
}

TEST(LatentHeads, PartsAreThoseOfTheWholeInEveryFormat) {
  expectParts("deepseek_v3", 4, 32, 32, 64);
  expectParts("deepseek_v3_fp8", 4, 64, 64, 128);
}

TEST(LatentHeads, TransposedBlocksAreNotExact) {
  const auto checkpoint = Checkpoint::open(kGolden / "deepseek_v3");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  const StoredTensor* key = checkpoint->stored("model.layers.0.self_attn.kv_b_proj.heads.1.key.weight");
  ASSERT_NE(key, nullptr);
  EXPECT_TRUE(key->traits().is_exact) << "bf16 has no blocks";
  EXPECT_EQ(key->traits().size_bytes, 32u * 64 * 2);
}

TEST(LatentHeads, RefusesAnotherNumberOfRows) {
  const auto checkpoint = Checkpoint::open(kGolden / "deepseek_v3");
  ASSERT_TRUE(checkpoint.ok());
  const TemporaryFolder folder;
  std::filesystem::copy_file(kGolden / "deepseek_v3/model.safetensors", folder.path() / "model.safetensors");
  folder.write("config.json", R"({"kv_lora_rank": 64, "num_attention_heads": 4, "qk_nope_head_dim": 32, "v_head_dim": 48})");
  const auto refused = Checkpoint::open(folder.path());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message().find("kv_b_proj.weight: expected 4 heads of 32 + 48 rows as the configuration says, got 256 rows"), std::string::npos) << refused.error();
}

}  // namespace
}  // namespace exo
