// Models nobody has released: odd heads, odd widths, one KV head, heads wider than hidden size / heads, windows, biases,
// experts. With made-up weights, one node must answer as the reference interpreter does, and any layout over nodes as one node.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "frontend/architectures/architecture.h"
#include "frontend/checkpoint/random_weights.h"
#include "model_runs.h"
#include "tests/end_to_end/model_run.h"

namespace exo::testing {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-3;  // of the logits' range: f32 sums in another order, far below it
constexpr int kSeeds = 2;
constexpr int64_t kLayers = 3;
constexpr int kWeightSeed = 7;

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

void addExperts(const std::string& family, Dice& dice, json& config) {
  config.update({{"num_experts_per_tok", dice.between(1, 3)}, {"moe_intermediate_size", dice.between(30, 90)}});
  if (family == "qwen2_moe") config.update({{"num_experts", dice.between(3, 9)}, {"shared_expert_intermediate_size", dice.between(30, 90)}, {"norm_topk_prob", dice.oneOf({false, true})}, {"mlp_only_layers", {dice.between(0, kLayers - 1)}}});
  if (family == "glm4_moe")
    config.update({{"n_routed_experts", 12}, {"n_group", dice.oneOf({1, 3, 4})}, {"topk_group", 1}, {"n_shared_experts", dice.between(1, 2)}, {"routed_scaling_factor", 2.5}, {"first_k_dense_replace", 1}, {"partial_rotary_factor", 0.5}, {"use_qk_norm", dice.oneOf({false, true})}, {"attention_bias", dice.oneOf({false, true})}});
}

/// Sizes of latent attention that have nothing to do with each other.
void addLatent(Dice& dice, json& config) {
  config.erase("head_dim");
  config["num_key_value_heads"] = config.at("num_attention_heads");
  config.update({{"kv_lora_rank", dice.between(5, 70)}, {"q_lora_rank", nullptr}, {"qk_nope_head_dim", dice.between(1, 40)}, {"qk_rope_head_dim", 2 * dice.between(1, 12)}, {"v_head_dim", dice.between(1, 40)}});
  if (dice.oneOf({false, true})) config["q_lora_rank"] = dice.between(3, 50);
  config.update({{"n_routed_experts", 12}, {"n_group", dice.oneOf({1, 3, 4})}, {"topk_group", 1}, {"n_shared_experts", dice.between(0, 2)}, {"routed_scaling_factor", 2.5}, {"first_k_dense_replace", 1}, {"attention_bias", dice.oneOf({false, true})}});
  config["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}, {"mscale", 1.0}, {"mscale_all_dim", 0.7}};
}

void addFamilyKeys(const std::string& family, int64_t head_dim, Dice& dice, json& config) {
  if (family == "gpt_oss")
    config.update({{"num_local_experts", dice.between(3, 7)}, {"num_experts_per_tok", dice.between(1, 3)}, {"sliding_window", dice.between(5, 20)}, {"swiglu_limit", 0.5}, {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}, {"truncate", false}}}});
  if (family == "deepseek_v3") {
    addExperts(family, dice, config);
    addLatent(dice, config);
  }
  if (family == "qwen2_moe" || family == "glm4_moe") addExperts(family, dice, config);
  if (family == "phi3") {
    const double part = dice.oneOf({0.5, 1.0});
    json short_factor = json::array(), long_factor = json::array();
    for (int64_t pair = 0; pair < static_cast<int64_t>(static_cast<double>(head_dim) * part) / 2; ++pair) short_factor.push_back(1 + 0.1 * static_cast<double>(pair)), long_factor.push_back(2 + static_cast<double>(pair));
    config.update({{"partial_rotary_factor", part}, {"original_max_position_embeddings", dice.oneOf({64, 256})}, {"sliding_window", dice.between(5, 40)}, {"rope_scaling", {{"type", "longrope"}, {"short_factor", short_factor}, {"long_factor", long_factor}}}});
  }
  // Caps so low that they bite.
  if (family.starts_with("gemma")) config.update({{"hidden_act", "gelu_pytorch_tanh"}, {"query_pre_attn_scalar", dice.between(4, 40)}, {"sliding_window", dice.between(5, 20)}});
  if (family == "gemma2") config.update({{"attn_logit_softcapping", 1.5}, {"final_logit_softcapping", 2.0}});
  if (family == "gemma3_text") config.update({{"sliding_window_pattern", 2}, {"rope_local_base_freq", 500.0}, {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
}

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
  addFamilyKeys(family, head_dim, dice, config);
  return config;
}

/// What the reference functions say, in double.
Logits interpreted(const json& config, const std::vector<int64_t>& prompt) {
  const int64_t context = config.at("max_position_embeddings");
  const auto parsed = parseModelConfig(config.dump(), "config.json");
  EXPECT_TRUE(parsed.ok()) << parsed.error();
  if (!parsed.ok()) return {};
  const auto graph = buildGraph(*parsed, {"model", context, parsed->vocab_size, [](const std::string&) { return Encoding::kF32; }, Encoding::kF32});
  EXPECT_TRUE(graph.ok()) << graph.error();
  if (!graph.ok()) return {};
  InterpreterStep step;
  appendTokens(step, 0, 0, {prompt.begin(), prompt.end()});
  const auto rows = ModelRun(Module{{*graph}}, weightsFrom(std::make_shared<RandomWeights>(kWeightSeed)), context).logits(step);
  EXPECT_TRUE(rows.ok()) << rows.error();
  if (!rows.ok()) return {};
  Logits logits{static_cast<int64_t>(rows->size()), parsed->vocab_size, {}};
  for (const auto& row : *rows) logits.values.insert(logits.values.end(), row.begin(), row.end());
  return logits;
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
  request.more = {"--random_weights", std::to_string(kWeightSeed)};
  const RunResult one = runModel(request);
  ASSERT_TRUE(one.ok);
  expectNear(one.logits, interpreted(config, request.prompt), kTolerance);
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

INSTANTIATE_TEST_SUITE_P(Families, RandomModel, ::testing::Combine(::testing::Values("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", "qwen2_moe", "olmo2", "phi3", "glm4_moe", "gemma2", "gemma3_text", "gpt_oss", "deepseek_v3"), ::testing::Range(1, kSeeds + 1)),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::to_string(std::get<1>(info.param)); });

}  // namespace
}  // namespace exo::testing
