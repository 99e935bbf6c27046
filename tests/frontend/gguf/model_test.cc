// What a GGUF file means: configuration, weights under the families' names, tokenizer and chat template.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "frontend/checkpoint/checkpoint.h"
#include "frontend/config/gguf_config.h"
#include "frontend/template/chat_template.h"
#include "frontend/tokenizer/tokenizer.h"
#include "tests/frontend/checkpoint/temporary_folder.h"
#include "tests/frontend/gguf/tiny_model.h"

namespace exo {
namespace {

namespace fs = std::filesystem;
using testing::addTinyTensors;
using testing::bytesOf;
using testing::counting;
using testing::GgufImage;
using testing::tinyMetadata;

Result<ModelConfig> configOf(const std::string& image) {
  EXO_ASSIGN(const GgufModel model, GgufModel::parse(std::as_bytes(std::span(image)), "x.gguf"));
  return readGgufConfig(model);
}

std::string refusalOf(GgufImage image) {
  const auto config = configOf(addTinyTensors(image).build());
  return config.ok() ? "" : config.error().message();
}

TEST(GgufConfig, IsThatOfAConfigJson) {
  GgufImage image = tinyMetadata();
  image.f32("llama.rope.freq_base", 500000.0f).u32("llama.rope.dimension_count", 2).u32("tokenizer.ggml.eot_token_id", 2);
  const auto config = configOf(addTinyTensors(image).build());
  ASSERT_TRUE(config.ok()) << config.error();
  const auto expected = parseModelConfig(R"({"model_type": "llama", "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 6,
      "vocab_size": 5, "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": true, "bos_token_id": 3, "eos_token_id": [4, 2]})", "config.json");
  ASSERT_TRUE(expected.ok()) << expected.error();
  EXPECT_TRUE(*config == *expected);
}

TEST(GgufConfig, FamiliesOfArchitectureLlama) {
  EXPECT_EQ(configOf(addTinyTensors(GgufImage(tinyMetadata()).u32("llama.attention.sliding_window", 8)).build())->family, "mistral");
  const auto mixtral = configOf(addTinyTensors(GgufImage(tinyMetadata()).u32("llama.expert_count", 4).u32("llama.expert_used_count", 2)).build());
  ASSERT_TRUE(mixtral.ok()) << mixtral.error();
  EXPECT_EQ(mixtral->family, "mixtral");
  EXPECT_EQ(mixtral->moe->top_k, 2);
}

TEST(GgufConfig, RopeScalings) {
  const auto yarn = configOf(addTinyTensors(GgufImage(tinyMetadata()).text("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 4.0f).u32("llama.rope.scaling.original_context_length", 4)).build());
  ASSERT_TRUE(yarn.ok()) << yarn.error();
  EXPECT_EQ(yarn->rope.type, RopeType::kYarn);
  EXPECT_EQ(yarn->rope.original_max_position_embeddings, 4);
  GgufImage factors = tinyMetadata();
  const auto llama3 = configOf(addTinyTensors(factors).tensor("rope_freqs.weight", 0, {1}, bytesOf(8.0f)).build());
  ASSERT_TRUE(llama3.ok()) << llama3.error();
  EXPECT_EQ(llama3->rope.type, RopeType::kFactors);
  EXPECT_EQ(ropeFrequencies(llama3->rope, 2, 16).inverse_frequencies, std::vector<float>{0.125f});
}

TEST(GgufConfig, RefusesByName) {
  EXPECT_NE(refusalOf(tinyMetadata().f32("llama.attention.scale", 0.1f)).find("x.gguf: llama.attention.scale: this key is not known"), std::string::npos);
  EXPECT_NE(refusalOf(tinyMetadata().u32("llama.rope.dimension_count", 1)).find("rope.dimension_count: expected the head's size 2"), std::string::npos);
  EXPECT_NE(refusalOf(tinyMetadata().text("llama.rope.scaling.type", "hiccup")).find("rope_type: expected default, linear"), std::string::npos);
  EXPECT_NE(refusalOf(GgufImage().text("general.architecture", "mamba")).find("general.architecture: expected one of "), std::string::npos);
}

std::vector<float> readWhole(const Checkpoint& checkpoint, const TensorRef& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.rows() * tensor.columns()));
  const Status read = checkpoint.readAll(tensor, values);
  EXPECT_TRUE(read.ok()) << read.error();
  return values;
}

TEST(GgufTensors, RowsOfQueryAndKeyAreInTheOrderOfPublishedCheckpoints) {
  const TemporaryFolder folder;
  GgufImage image;
  image.text("general.architecture", "llama").u32("llama.block_count", 1).u32("llama.context_length", 16).u32("llama.embedding_length", 8);
  image.u32("llama.feed_forward_length", 6).u32("llama.attention.head_count", 2).u32("llama.attention.head_count_kv", 1).f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  image.tensor("token_embd.weight", 0, {5, 8}, counting(40)).tensor("blk.0.attn_q.weight", 0, {8, 8}, counting(64)).tensor("blk.0.attn_q.bias", 0, {8}, counting(8)).tensor("blk.0.attn_v.weight", 0, {4, 8}, counting(32));
  const auto checkpoint = Checkpoint::open(folder.write("m.gguf", image.build()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  // Heads of 4: rows 0 2 of the file are turned together with 1 3; published, 0 1 with 2 3.
  EXPECT_EQ(readWhole(*checkpoint, {"model.layers.0.self_attn.q_proj.bias", {8}}), (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
  const auto q = readWhole(*checkpoint, {"model.layers.0.self_attn.q_proj.weight", {8, 8}});
  for (const auto& [row, stored] : {std::pair(0, 0), std::pair(1, 2), std::pair(2, 1), std::pair(3, 3), std::pair(5, 6), std::pair(6, 5)}) EXPECT_EQ(q[static_cast<size_t>(row * 8)], static_cast<float>(stored * 8));
  EXPECT_EQ(readWhole(*checkpoint, {"model.layers.0.self_attn.v_proj.weight", {4, 8}})[8], 8.0f);
}

TEST(GgufTensors, BlocksAreReadInRectanglesAndKeepTheirScales) {
  const TemporaryFolder folder;
  GgufImage image = tinyMetadata();
  std::string q8;
  for (int row = 0; row < 4; ++row)
    for (int block = 0; block < 2; ++block) {
      q8 += bytesOf<uint16_t>(static_cast<uint16_t>(0x3c00 + block * 0x400));  // 1, 2
      for (int i = 0; i < 32; ++i) q8 += static_cast<char>(row * 10 + i - 30);
    }
  image.tensor("token_embd.weight", 0, {5, 4}, counting(20)).tensor("blk.0.ffn_down.weight", 8, {4, 64}, q8);
  const auto checkpoint = Checkpoint::open(folder.write("m.gguf", image.build()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  const TensorRef down{"model.layers.0.mlp.down_proj.weight", {4, 64}};
  std::vector<float> out(2 * 3);
  ASSERT_TRUE(checkpoint->readRows(down, {2, 4, 31, 34}, out).ok());
  EXPECT_EQ(out, (std::vector<float>{21, -20, -18, 31, 0, 2}));
  std::vector<uint16_t> scales(2);
  ASSERT_TRUE(checkpoint->readScales(down.name, 1, 0, scales));
  EXPECT_EQ(scales, (std::vector<uint16_t>{0x3c00, 0x4000}));
  EXPECT_FALSE(checkpoint->readScales(down.name, 1, 16, scales));
}

TEST(GgufTensors, ExpertsOfStacksAndOfOlderFiles) {
  const TemporaryFolder folder;
  GgufImage image = tinyMetadata();
  image.u32("llama.expert_count", 2).u32("llama.expert_used_count", 1);
  image.tensor("token_embd.weight", 0, {5, 4}, counting(20)).tensor("blk.0.ffn_gate_exps.weight", 0, {2, 6, 4}, counting(48)).tensor("blk.0.ffn_up.1.weight", 0, {6, 4}, counting(24)).tensor("blk.0.ffn_gate_inp.weight", 0, {2, 4}, counting(8));
  const auto checkpoint = Checkpoint::open(folder.write("m.gguf", image.build()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  EXPECT_EQ(readWhole(*checkpoint, {"model.layers.0.block_sparse_moe.experts.1.w1.weight", {6, 4}})[5], 29.0f);
  EXPECT_TRUE(checkpoint->contains("model.layers.0.block_sparse_moe.experts.1.w3.weight"));
  EXPECT_TRUE(checkpoint->contains("model.layers.0.block_sparse_moe.gate.weight"));
}

TEST(GgufTensors, RefusesByName) {
  const TemporaryFolder folder;
  const auto refusal = [&](GgufImage image) {
    const auto checkpoint = Checkpoint::open(folder.write("m.gguf", addTinyTensors(image).build()));
    return checkpoint.ok() ? "" : checkpoint.error().message();
  };
  EXPECT_EQ(refusal(tinyMetadata()), "");
  EXPECT_NE(refusal(tinyMetadata().tensor("blk.0.attn_sinks.weight", 0, {2}, counting(2))).find("blk.0.attn_sinks.weight: this tensor is not known in architecture llama"), std::string::npos);
  EXPECT_NE(refusal(tinyMetadata().tensor("output.weight", 23, {1, 256}, std::string(136, ' '))).find("got IQ4_XS"), std::string::npos);
}

TEST(GgufTokenizer, ByteLevel) {
  const TemporaryFolder folder;
  GgufImage image = tinyMetadata();
  image.text("tokenizer.chat_template", "{{ messages[0].content }}");
  const auto path = folder.write("m.gguf", image.build());
  const auto tokenizer = tokenizer::Tokenizer::load(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error();
  EXPECT_EQ(*tokenizer->encode("aba", tokenizer::Specials::kParse, tokenizer::AddSpecial::kYes), (std::vector<int32_t>{3, 2, 0}));
  EXPECT_EQ(*tokenizer->encode("</s>", tokenizer::Specials::kParse, tokenizer::AddSpecial::kNo), (std::vector<int32_t>{4}));
  EXPECT_EQ(tokenizer->eosIds(), std::vector<int32_t>{4});
  EXPECT_EQ(*loadChatTemplate(path.string()), "{{ messages[0].content }}");
}

TEST(GgufTokenizer, RefusesByName) {
  const TemporaryFolder folder;
  const auto refusal = [&](const GgufImage& image) {
    const auto tokenizer = tokenizer::Tokenizer::load(folder.write("m.gguf", image.build()));
    return tokenizer.ok() ? "" : tokenizer.error().message();
  };
  const auto texts = [](GgufImage image) { return image.texts("tokenizer.ggml.tokens", {"a"}).texts("tokenizer.ggml.merges", {}); };
  EXPECT_NE(refusal(texts(GgufImage().text("tokenizer.ggml.model", "t5"))).find("expected \"gpt2\" or \"llama\", got \"t5\""), std::string::npos);
  EXPECT_NE(refusal(texts(GgufImage().text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "viking"))).find("got \"viking\""), std::string::npos);
  EXPECT_NE(refusal(texts(GgufImage().text("tokenizer.ggml.model", "llama"))).find("tokenizer.ggml.scores: expected 1 scores"), std::string::npos);
  EXPECT_NE(refusal(texts(GgufImage().text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "qwen2").u32("tokenizer.ggml.eos_token_id", 1))).find("tokenizer.ggml.eos_token_id: expected a token below 1, got 1"), std::string::npos);
}

std::string readText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Published vocabularies with the ids that the format's own implementation gives.
TEST(GgufTokenizer, EqualsTheVectorsOfPublishedVocabularies) {
  const char* shared = std::getenv("EXO_SHARED");
  const fs::path folder = fs::path(shared ? shared : "") / "tokenizers" / "llama_cpp_vocab";
  if (!shared || !fs::exists(folder)) GTEST_SKIP() << "EXO_SHARED names no folder with llama_cpp_vocab";
  for (const char* name : {"llama-spm", "gpt-2"}) {
    const fs::path path = folder / ("ggml-vocab-" + std::string(name) + ".gguf");
    const auto tokenizer = tokenizer::Tokenizer::load(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error();
    const std::string inputs = readText(path.string() + ".inp"), separator = "\n__ggml_vocab_test__\n";
    std::istringstream outputs(readText(path.string() + ".out"));
    size_t at = 0, compared = 0;
    for (std::string line; std::getline(outputs, line);) {
      const size_t end = std::min(inputs.find(separator, at), inputs.size());
      const std::string text = inputs.substr(at, end - at);
      at = std::min(end + separator.size(), inputs.size());
      std::istringstream numbers(line);
      std::vector<int32_t> expected;
      for (int32_t id; numbers >> id;) expected.push_back(id);
      EXPECT_EQ(*tokenizer->encode(text, tokenizer::Specials::kParse, tokenizer::AddSpecial::kNo), expected) << name << ": " << text;
      ++compared;
    }
    EXPECT_GT(compared, 40u);
  }
}

}  // namespace
}  // namespace exo
