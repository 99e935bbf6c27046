// The cards against the parameter counts their makers publish.
#include <gtest/gtest.h>

#include <cstdlib>

#include "frontend/config/model_cards.h"
#include "frontend/config/model_config.h"

namespace exo {
namespace {

struct Published {
  const char* card;
  int64_t total;
  double active_billions;  // as in the model's name or its announcement; 0: dense
};

class Card : public testing::TestWithParam<Published> {};

TEST_P(Card, HasThePublishedNumberOfParameters) {
  const auto path = findModel(GetParam().card);
  ASSERT_TRUE(path.ok()) << path.error();
  const auto config = loadModelConfig(*path);
  ASSERT_TRUE(config.ok()) << config.error();
  const ParameterCount count = countParameters(*config);
  EXPECT_EQ(count.total, GetParam().total);
  if (GetParam().active_billions == 0)
    EXPECT_EQ(count.active, count.total);
  else
    EXPECT_NEAR(static_cast<double>(count.active) * 1e-9, GetParam().active_billions, 0.2);
}

// qwen3-0.6b: without the copy of the tied table that the published file also contains (751,632,384 with it).
INSTANTIATE_TEST_SUITE_P(All, Card,
                         testing::Values(Published{"llama-3.2-1b", 1'235'814'400, 0}, Published{"llama-3.1-8b", 8'030'261'248, 0},
                                         Published{"llama-3.1-70b", 70'553'706'496, 0},
                                         Published{"llama-3.1-405b", 405'853'388'800, 0},
                                         Published{"qwen3-0.6b", 596'049'920, 0},
                                         Published{"qwen3-30b-a3b", 30'532'122'624, 3.3},
                                         Published{"qwen3-235b-a22b", 235'093'634'560, 22.0},
                                         Published{"qwen1.5-moe-a2.7b", 14'315'784'192, 2.7},
                                         Published{"qwen3-1.7b", 1'720'574'976, 0},
                                         Published{"qwen3-4b", 4'022'468'096, 0},
                                         Published{"qwen3-8b", 8'190'735'360, 0},
                                         Published{"qwen3-14b", 14'768'307'200, 0},
                                         Published{"qwen3-32b", 32'762'123'264, 0},
                                         Published{"qwen3-coder-480b-a35b", 480'154'875'392, 35.4},
                                         Published{"llama-3.2-3b", 3'212'749'824, 0},
                                         Published{"mistral-small", 23'572'403'200, 0},
                                         Published{"phi-4", 14'659'507'200, 0},
                                         Published{"olmo-2-7b", 7'298'617'344, 0},
                                         Published{"gemma-2-2b", 2'614'341'888, 0},
                                         Published{"gemma-3-1b", 999'885'952, 0},
                                         Published{"mixtral-8x7b", 46'702'792'704, 12.9}),
                         [](const auto& info) {
                           std::string name = info.param.card;
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

// Its maker gives 106 and 12 billion: without the layer that predicts a further token, and the second without the tables of
// embedding and output.
TEST(Cards, Glm45AirHasThePublishedNumberOfParameters) {
  const auto config = loadModelConfig(*findModel("glm-4.5-air"));
  ASSERT_TRUE(config.ok()) << config.error();
  const ParameterCount count = countParameters(*config);
  EXPECT_EQ(count.total, 106'852'251'264);
  EXPECT_NEAR(static_cast<double>(count.active - count.embedding) * 1e-9, 12.0, 0.25);
}

/// Its maker counts the output projection as active, and not the embedding table.
struct GptOss {
  const char* card;
  int64_t total;
  double active_billions;
};
class GptOssCard : public testing::TestWithParam<GptOss> {};
TEST_P(GptOssCard, HasThePublishedNumberOfParameters) {
  const auto config = loadModelConfig(*findModel(GetParam().card));
  ASSERT_TRUE(config.ok()) << config.error();
  const ParameterCount count = countParameters(*config);
  EXPECT_EQ(count.total, GetParam().total);
  EXPECT_NEAR(static_cast<double>(count.active - count.embedding / 2) * 1e-9, GetParam().active_billions, 0.005);
}
INSTANTIATE_TEST_SUITE_P(All, GptOssCard, testing::Values(GptOss{"gpt-oss-20b", 20'914'757'184, 3.61}, GptOss{"gpt-oss-120b", 116'829'156'672, 5.13}));

/// The published numbers are with what sees images: by vision_config a table of 14 x 14 x 3 pixels and one of (896 / 14)² positions, 27 layers
/// of attention and of an MLP with biases and two norms each, one more norm; then a norm and a projection into the text's width.
TEST(Cards, Gemma3HasTheParametersOfItsText) {
  constexpr int64_t d = 1152, inner = 4304;
  constexpr int64_t layer = 4 * (d * d + d) + 2 * d * inner + inner + d + 4 * d, tower = 14 * 14 * 3 * d + d + 64 * 64 * d + 27 * layer + 2 * d;
  for (const auto& [card, published, width] : {std::tuple("gemma-3-4b", 4'300'079'472, 2560), std::tuple("gemma-3-27b", 27'432'406'640, 5376)}) {
    const auto config = loadModelConfig(*findModel(card));
    ASSERT_TRUE(config.ok()) << config.error();
    EXPECT_EQ(countParameters(*config).total, published - tower - d - d * width) << card;
  }
}

// Published: 671 and 37 billion, a trillion and 32 billion, without the layer that predicts a further token; the active ones without
// the table of the embedding, of which a token uses one row.
TEST(Cards, ModelsWithLatentAttentionHaveThePublishedNumbersOfParameters) {
  for (const auto& [card, total, active_billions] : {std::tuple{"deepseek-v3.1", 671'026'419'200, 37.0}, {"kimi-k2-thinking", 1'026'408'232'448, 32.0}}) {
    const auto config = loadModelConfig(*findModel(card));
    ASSERT_TRUE(config.ok()) << config.error();
    const ParameterCount count = countParameters(*config);
    EXPECT_EQ(count.total, total);
    EXPECT_NEAR(static_cast<double>(count.active - count.embedding / 2) * 1e-9, active_billions, 0.5) << card;
  }
}

TEST(Cards, AllCardsOfTheFolderParse) {
  const auto cards = modelCards();
  EXPECT_GE(cards.size(), 8u);
  for (const std::string& card : cards) {
    const auto config = loadModelConfig(*findModel(card));
    EXPECT_TRUE(config.ok()) << config.error();
  }
}

TEST(FindModel, TakesFoldersFilesAndNames) {
  const std::string folder = std::string(EXO_TEST_DATA) + "/golden/llama";
  EXPECT_EQ(*findModel(folder), folder);
  EXPECT_EQ(*findModel(folder + "/config.json"), folder + "/config.json");
  EXPECT_EQ(findModel("Llama-3.2-1B")->filename(), "llama-3.2-1b.json");
}

TEST(FindModel, SuggestsTheNearestCard) {
  const auto found = findModel("lama-3.1-8b");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(found.error().message().find("did you mean \"llama-3.1-8b\"?"), std::string::npos) << found.error();
  EXPECT_FALSE(findModel("").ok());
  EXPECT_FALSE(findModel(EXO_TEST_DATA).ok()) << "a folder without config.json";
}

TEST(FindModel, LooksWhereTheEnvironmentSays) {
  ::setenv("EXO_MODELS", "/nowhere", 1);
  EXPECT_TRUE(modelCards().empty());
  EXPECT_FALSE(findModel("llama-3.1-8b").ok());
  ::unsetenv("EXO_MODELS");
  EXPECT_TRUE(findModel("llama-3.1-8b").ok());
}

}  // namespace
}  // namespace exo
