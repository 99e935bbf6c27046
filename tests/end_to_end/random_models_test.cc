// Models nobody has released: odd heads, odd widths, one KV head, heads wider than hidden size / heads, windows, biases,
// experts. With made-up weights, any layout over nodes must answer as one node does.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-3;  // of the logits' range: f32 sums in another order, far below it
constexpr int kSeeds = 2;
constexpr int64_t kLayers = 3;

class Dice {
 public:
  explicit Dice(uint32_t seed) : engine_(seed) {}
  template <class T>
  T oneOf(std::initializer_list<T> values) {
    return values.begin()[engine_() % values.size()];
  }
  int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>(engine_() % static_cast<uint32_t>(high - low + 1)); }

 private:
  std::mt19937 engine_;
};

json randomConfig(const std::string& family, Dice& dice) {
  const auto kv_heads = dice.oneOf<int64_t>({1, 2, 3, 5}), heads = kv_heads * dice.oneOf<int64_t>({1, 2, 3});
  const auto head_dim = dice.oneOf<int64_t>({8, 12, 16, 20, 32});
  const bool free_head_dim = family != "qwen2";  // there, heads have hidden size / heads by definition
  json config = {{"model_type", family}, {"hidden_size", free_head_dim ? dice.between(9, 40) * 4 : heads * head_dim}, {"intermediate_size", dice.between(40, 200)},
                 {"num_hidden_layers", kLayers}, {"num_attention_heads", heads}, {"num_key_value_heads", kv_heads}, {"vocab_size", dice.between(97, 400)}, {"hidden_act", "silu"},
                 {"max_position_embeddings", 256}, {"rms_norm_eps", 1e-5}, {"rope_theta", 10000.0}, {"tie_word_embeddings", dice.oneOf({false, true})}, {"torch_dtype", "float32"}};
  if (free_head_dim) config["head_dim"] = head_dim;
  if (family == "mistral") config["sliding_window"] = dice.between(5, 20);
  if (family == "mixtral") config.update({{"num_local_experts", dice.between(3, 7)}, {"num_experts_per_tok", dice.between(1, 3)}});
  if (family == "qwen3_moe") config.update({{"num_experts", dice.between(3, 9)}, {"num_experts_per_tok", dice.between(1, 3)}, {"moe_intermediate_size", dice.between(30, 90)}, {"norm_topk_prob", dice.oneOf({false, true})}, {"decoder_sparse_step", 1}, {"mlp_only_layers", json::array()}});
  return config;
}

class RandomModel : public ::testing::TestWithParam<std::tuple<std::string, int>> {};

TEST_P(RandomModel, AnyLayoutAnswersAsOneNode) {
  const auto& [family, seed] = GetParam();
  Dice dice(static_cast<uint32_t>(seed) * 1000 + static_cast<uint32_t>(family.size()));
  const json config = randomConfig(family, dice);
  SCOPED_TRACE(config.dump());
  const Folder folder;
  writeFile(folder / "config.json", config.dump());
  RunRequest request{(folder / "config.json").string(), {1, "auto"}, {}};
  for (int i = 0; i < 23; ++i) request.prompt.push_back(dice.between(0, config.at("vocab_size").get<int64_t>() - 1));
  request.more = {"--random_weights", "7"};
  const RunResult one = runModel(request);
  ASSERT_TRUE(one.ok);
  for (const Layout& layout : {Layout{2, "tp"}, Layout{3, "tp"}, Layout{5, "tp"}, Layout{3, "pp"}}) {
    request.layout = layout;
    request.step_tokens = layout.nodes == 2 ? 4 : 256;
    const RunResult many = runModel(request);
    if (!many.ok) continue;
    SCOPED_TRACE(toString(layout));
    EXPECT_EQ(many.tokens, one.tokens);
    expectNear(many.logits, one.logits, kTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, RandomModel, ::testing::Combine(::testing::Values("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe"), ::testing::Range(1, kSeeds + 1)),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::to_string(std::get<1>(info.param)); });

}  // namespace
}  // namespace exo::testing
