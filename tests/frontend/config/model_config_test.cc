#include "frontend/config/model_config.h"

#include <gtest/gtest.h>

#include "frontend/config/json_reader.h"

namespace exo {
namespace {

const std::string kGolden = std::string(EXO_TEST_DATA) + "/golden/";

// Small and complete; tests change or remove keys.
Json tiny(const std::string& family) {
  Json json = {{"model_type", family}, {"hidden_size", 64},  {"num_hidden_layers", 4}, {"num_attention_heads", 4},
               {"num_key_value_heads", 2}, {"intermediate_size", 128}, {"vocab_size", 100}};
  if (family == "qwen3_moe") json.update({{"num_experts", 8}, {"moe_intermediate_size", 32}});
  if (family == "mixtral") json.update({{"num_local_experts", 8}});
  if (family == "qwen2_moe") json.update({{"num_experts", 8}, {"moe_intermediate_size", 32}, {"shared_expert_intermediate_size", 48}});
  if (family == "glm4_moe") json.update({{"n_routed_experts", 8}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 32}});
  if (family == "gpt_oss") json.update({{"num_local_experts", 8}, {"head_dim", 16}, {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 32.0}, {"original_max_position_embeddings", 4096}, {"truncate", false}}}});
  if (family == "deepseek_v3" || family == "kimi_k2") {
    json.update({{"num_key_value_heads", 4}, {"n_routed_experts", 8}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 32}, {"q_lora_rank", 24}, {"kv_lora_rank", 16},
                 {"qk_nope_head_dim", 12}, {"qk_rope_head_dim", 4}, {"v_head_dim", 10}});
  }
  if (family.starts_with("gemma")) json.update({{"head_dim", 16}, {"hidden_activation", "gelu_pytorch_tanh"}});
  return json;
}

Json with(Json json, const Json& changes) {
  json.update(changes);
  return json;
}

ModelConfig read(const Json& json) {
  auto config = readModelConfig(json, "config.json");
  EXPECT_TRUE(config.ok()) << config.error();
  return config.ok() ? *config : ModelConfig();
}

std::string refusal(const Json& json) {
  const auto config = readModelConfig(json, "config.json");
  return config.ok() ? "" : config.error().message();
}

class GoldenConfig : public testing::TestWithParam<const char*> {};

TEST_P(GoldenConfig, OldAndNewStyleMeanTheSame) {
  const auto released = loadModelConfig(kGolden + GetParam());
  const auto version5 = loadModelConfig(kGolden + GetParam() + "/config.v5.json");
  ASSERT_TRUE(released.ok()) << released.error();
  ASSERT_TRUE(version5.ok()) << version5.error();
  EXPECT_TRUE(*released == *version5);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenConfig, testing::Values("llama", "llama_sharded", "mixtral", "qwen3", "qwen3_moe", "deepseek_v3"));

TEST(ModelConfig, GoldenLlamaFieldByField) {
  const auto config = loadModelConfig(kGolden + "llama");
  ASSERT_TRUE(config.ok()) << config.error();
  const RopeConfig rope{.type = RopeType::kLlama3,
                        .theta = 500000.0,
                        .factor = 8.0,
                        .original_max_position_embeddings = 64,
                        .low_freq_factor = 1.0,
                        .high_freq_factor = 4.0};
  const ModelConfig expected{.family = "llama",
                             .hidden_size = 128,
                             .num_layers = 3,
                             .num_heads = 4,
                             .num_kv_heads = 2,
                             .head_dim = 32,
                             .intermediate_size = 352,
                             .vocab_size = 512,
                             .max_position_embeddings = 512,
                             .rms_norm_eps = 1e-5,
                             .rope = rope,
                             .sliding_window = {std::nullopt, std::nullopt, std::nullopt},
                             .bos_token_ids = {500},
                             .eos_token_ids = {501, 502},
                             .dtype = DType::kBF16};
  EXPECT_TRUE(*config == expected);
}

TEST(ModelConfig, FamilyDefaults) {
  const ModelConfig llama = read(tiny("llama"));
  EXPECT_EQ(llama.head_dim, 16);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6);
  EXPECT_EQ(llama.rope.theta, 10000.0);
  EXPECT_EQ(llama.max_position_embeddings, 2048);
  EXPECT_EQ(llama.bos_token_ids, std::vector<int64_t>{1});
  EXPECT_EQ(llama.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_FALSE(llama.tie_word_embeddings || llama.qkv_bias || llama.mlp_bias || llama.qk_norm || llama.dtype);

  const ModelConfig qwen2 = read(tiny("qwen2"));
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.attention_output_bias && !qwen2.qk_norm);
  EXPECT_TRUE(qwen2.eos_token_ids.empty());

  const ModelConfig qwen3 = read(tiny("qwen3"));
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_TRUE(qwen3.qk_norm && !qwen3.qkv_bias);

  const ModelConfig mixtral = read(tiny("mixtral"));
  EXPECT_EQ(mixtral.rope.theta, 1e6);
  EXPECT_EQ(mixtral.rms_norm_eps, 1e-5);
  EXPECT_EQ(mixtral.moe->top_k, 2);
  EXPECT_EQ(mixtral.moe->intermediate_size, 128);
  EXPECT_TRUE(mixtral.moe->norm_topk_prob);

  const ModelConfig qwen3_moe = read(tiny("qwen3_moe"));
  EXPECT_EQ(qwen3_moe.head_dim, 16);
  EXPECT_EQ(qwen3_moe.moe->top_k, 8);
  EXPECT_FALSE(qwen3_moe.moe->norm_topk_prob);
}

TEST(ModelConfig, MissingKeyValueHeadsAreTheFamilysNullOnesAreHeads) {
  for (const char* family : {"llama", "qwen2", "qwen3", "mistral"}) {
    const Json json = with(tiny(family), {{"num_attention_heads", 32}, {"num_key_value_heads", nullptr}});
    EXPECT_EQ(read(json).num_kv_heads, 32) << family;
  }
  Json json = with(tiny("mistral"), {{"num_attention_heads", 32}});
  json.erase("num_key_value_heads");
  EXPECT_EQ(read(json).num_kv_heads, 8);
  json["model_type"] = "llama";
  EXPECT_EQ(read(json).num_kv_heads, 32);
}

TEST(ModelConfig, FamilyFromArchitectures) {
  Json json = with(tiny("qwen3"), {{"architectures", {"Qwen3ForCausalLM"}}});
  json.erase("model_type");
  EXPECT_EQ(read(json).family, "qwen3");
  json.erase("architectures");
  EXPECT_NE(refusal(json).find("model_type: expected one of " + knownFamilies().front()), std::string::npos);
  EXPECT_NE(refusal(tiny("lama")).find("did you mean \"llama\"?"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("llama"), {{"architectures", {"LlamaForSequenceClassification"}}})).find("architectures"),
            std::string::npos);
}

Json withImages(const Json& text) {
  return {{"model_type", "gemma3"}, {"architectures", {"Gemma3ForConditionalGeneration"}}, {"eos_token_id", {1, 106}}, {"torch_dtype", "bfloat16"},
          {"text_config", text}, {"vision_config", {{"model_type", "siglip_vision_model"}}}};
}

TEST(ModelConfig, OfSeveralModalitiesTheTextIsRead) {
  Json text = with(tiny("gemma3_text"), {{"vocab_size", 400}});
  const ModelConfig config = read(withImages(text));
  EXPECT_EQ(config.family, "gemma3_text");
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{1, 106})) << "what the whole file says counts for its parts";
  EXPECT_EQ(config.dtype, DType::kBF16);
  EXPECT_EQ(config.ignored, std::vector<std::string>{"vision_config (siglip_vision_model)"});
  text["eos_token_id"] = 7;
  EXPECT_EQ(read(withImages(text)).eos_token_ids, std::vector<int64_t>{7}) << "the part's own word is nearer";
  for (const char* key : {"vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim", "model_type"}) text.erase(key);
  const ModelConfig defaults = read(withImages(text));
  EXPECT_EQ(defaults.vocab_size, 262208);
  EXPECT_EQ(defaults.num_heads, 8);

  const ModelConfig mistral = read({{"model_type", "mistral3"}, {"text_config", tiny("mistral")}, {"vision_config", {{"model_type", "pixtral"}}}});
  EXPECT_EQ(mistral.family, "mistral");
}

TEST(ModelConfig, OfSeveralModalitiesOtherPartsAreRefused) {
  const Json whole = withImages(with(tiny("gemma3_text"), {{"vocab_size", 400}}));
  EXPECT_NE(refusal(with(whole, {{"audio_config", Json::object({{"x", 1}})}})).find("audio_config: a model of several modalities"), std::string::npos);
  EXPECT_NE(refusal(with(whole, {{"text_config", tiny("llama")}})).find("text_config.model_type: expected gemma3_text"), std::string::npos);
  EXPECT_NE(refusal(with(whole, {{"text_config", nullptr}})).find("text_config"), std::string::npos);
  EXPECT_NE(refusal(with(whole, {{"architectures", {"Gemma3Other"}}})).find("expected Gemma3ForConditionalGeneration"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("llama"), {{"text_config", tiny("llama")}})).find("several modalities"), std::string::npos);
}

TEST(ModelConfig, LlamaBiases) {
  const ModelConfig config = read(with(tiny("llama"), {{"attention_bias", true}, {"mlp_bias", true}}));
  EXPECT_TRUE(config.qkv_bias && config.attention_output_bias && config.mlp_bias);
  EXPECT_NE(refusal(with(tiny("mistral"), {{"attention_bias", true}})), "");
}

TEST(ModelConfig, MistralWindowMissingIsNotNull) {
  const std::vector<std::optional<int64_t>> all(4, 4096), none(4);
  EXPECT_EQ(read(tiny("mistral")).sliding_window, all);
  EXPECT_EQ(read(with(tiny("mistral"), {{"sliding_window", nullptr}})).sliding_window, none);
  EXPECT_EQ(read(tiny("mixtral")).sliding_window, none);
  EXPECT_EQ(read(with(tiny("mixtral"), {{"sliding_window", 4096}})).sliding_window, all);
  EXPECT_NE(refusal(with(tiny("llama"), {{"sliding_window", 4096}})).find("sliding_window: expected null"), std::string::npos);
}

TEST(ModelConfig, QwenWindows) {
  const std::vector<std::optional<int64_t>> none(4), upper = {std::nullopt, std::nullopt, 32, 32};
  const Json on = {{"use_sliding_window", true}, {"sliding_window", 32}, {"max_window_layers", 2}};
  EXPECT_EQ(read(with(tiny("qwen2"), {{"sliding_window", 32}, {"max_window_layers", 2}})).sliding_window, none);
  EXPECT_EQ(read(with(tiny("qwen2"), on)).sliding_window, upper);
  EXPECT_EQ(read(with(tiny("qwen3"), on)).sliding_window, upper);
  const Json types = {"sliding_attention", "full_attention", "full_attention", "full_attention"};
  EXPECT_EQ(read(with(with(tiny("qwen3"), on), {{"layer_types", types}})).sliding_window[0], 32);
  EXPECT_EQ(read(with(with(tiny("qwen3"), on), {{"layer_types", types}})).sliding_window[3], std::nullopt);
  EXPECT_NE(refusal(with(tiny("qwen3"), {{"layer_types", types}})), "") << "a window without a size";
  EXPECT_NE(refusal(with(tiny("qwen3"), {{"layer_types", {"full_attention"}}})), "") << "wrong length";
  EXPECT_NE(refusal(with(tiny("qwen3_moe"), on)), "");
}

TEST(ModelConfig, SparseLayers) {
  const ModelConfig steps = read(with(tiny("qwen3_moe"), {{"decoder_sparse_step", 2}}));
  EXPECT_EQ(steps.moe->is_sparse, (std::vector<bool>{false, true, false, true}));
  const ModelConfig chosen = read(with(tiny("qwen3_moe"), {{"mlp_only_layers", {0, 3}}}));
  EXPECT_EQ(chosen.moe->is_sparse, (std::vector<bool>{false, true, true, false}));
  EXPECT_TRUE(chosen.isSparse(1) && !chosen.isSparse(3));
  EXPECT_NE(refusal(with(tiny("qwen3_moe"), {{"num_experts_per_tok", 9}})), "");
  EXPECT_NE(refusal(with(tiny("qwen3_moe"), {{"mlp_only_layers", {4}}})), "");
}

TEST(ModelConfig, Qwen2Moe) {
  const ModelConfig config = read(tiny("qwen2_moe"));
  EXPECT_TRUE(config.qkv_bias && !config.attention_output_bias && config.moe->shared_gate && !config.moe->norm_topk_prob);
  EXPECT_EQ(config.moe->shared_intermediate_size, 48);
  EXPECT_EQ(config.moe->top_k, 4);
  EXPECT_NE(refusal(with(tiny("qwen2_moe"), {{"use_sliding_window", true}})).find("use_sliding_window: expected false"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("qwen2_moe"), {{"layer_types", {"full_attention", "sliding_attention", "full_attention", "full_attention"}}})), "");
}

TEST(ModelConfig, Olmo2) {
  const ModelConfig config = read(tiny("olmo2"));
  EXPECT_TRUE(config.qk_norm && config.qk_norm_joint && config.norms == NormPlaces::kBehind && !config.qkv_bias);
  EXPECT_NE(refusal(with(tiny("olmo2"), {{"clip_qkv", 8.0}})).find("clip_qkv"), std::string::npos);
}

TEST(ModelConfig, Phi3) {
  const ModelConfig plain = read(tiny("phi3"));
  EXPECT_TRUE(plain.fused_projections && !plain.rotary_dim && plain.sliding_window[0] == std::nullopt);
  // heads of 16, of which 8 elements rotate: 4 pairs
  const Json scaling = {{"type", "longrope"}, {"short_factor", {1, 1, 1, 1}}, {"long_factor", {1, 2, 4, 8}}};
  const Json grown = {{"partial_rotary_factor", 0.5}, {"max_position_embeddings", 8192}, {"original_max_position_embeddings", 2048}, {"rope_scaling", scaling}};
  const ModelConfig config = read(with(tiny("phi3"), grown));
  EXPECT_EQ(config.rotaryDim(), 8);
  EXPECT_EQ(config.rope.type, RopeType::kLongRope);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_EQ(config.rope.long_factor, (std::vector<double>{1, 2, 4, 8}));
  Json parameters = scaling;
  parameters.update({{"original_max_position_embeddings", 2048}, {"partial_rotary_factor", 0.5}, {"rope_theta", 10000.0}});
  EXPECT_TRUE(read(with(tiny("phi3"), {{"max_position_embeddings", 8192}, {"rope_parameters", parameters}})) == config) << "version 5";
  EXPECT_NE(refusal(with(with(tiny("phi3"), grown), {{"partial_rotary_factor", 1.0}})).find("short_factor: expected a list of rotated elements / 2 = 8"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("phi3"), {{"partial_rotary_factor", 0.2}})).find("expected an even number"), std::string::npos) << "3 of 16";
  EXPECT_NE(refusal(with(tiny("phi3"), {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}})).find("longrope or su"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("phi3"), {{"rope_scaling", {{"type", "longrope"}, {"short_mscale", 1.1}}}})).find("short_mscale"), std::string::npos);
}

TEST(ModelConfig, Glm4Moe) {
  const Json groups = {{"n_group", 4}, {"topk_group", 2}, {"n_shared_experts", 2}, {"routed_scaling_factor", 2.5}, {"first_k_dense_replace", 3}};
  const ModelConfig config = read(with(tiny("glm4_moe"), groups));
  const MoeConfig& moe = *config.moe;
  EXPECT_TRUE(moe.score == RouterScore::kSigmoid && moe.correction_bias && moe.norm_topk_prob && !moe.shared_gate && !config.qk_norm);
  EXPECT_EQ(moe.is_sparse, (std::vector<bool>{false, false, false, true}));
  EXPECT_EQ(moe.shared_intermediate_size, 64);
  EXPECT_EQ(moe.groups, 4);
  EXPECT_EQ(moe.top_groups, 2);
  EXPECT_EQ(moe.scale, 2.5);
  EXPECT_EQ(config.rotaryDim(), 8) << "half of a head, unless said otherwise";
  EXPECT_NE(refusal(with(tiny("glm4_moe"), {{"n_group", 3}})).find("n_group: expected a divisor"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("glm4_moe"), {{"n_group", 8}})).find("num_experts_per_tok: expected at most the 1 experts"), std::string::npos);
}

TEST(ModelConfig, DeepseekV3) {
  const Json yarn = {{"type", "yarn"}, {"factor", 40.0}, {"original_max_position_embeddings", 4096}, {"mscale", 1.0}, {"mscale_all_dim", 1.0}};
  const ModelConfig config = read(with(tiny("deepseek_v3"), {{"rope_scaling", yarn}, {"n_group", 4}, {"topk_group", 2}, {"num_nextn_predict_layers", 1}}));
  EXPECT_EQ(*config.latent, (LatentConfig{.query_rank = 24, .rank = 16, .key_dim = 12, .value_dim = 10}));
  EXPECT_EQ(config.head_dim, 4) << "what rotates";
  EXPECT_EQ(config.extra_prediction_layers, 1);
  EXPECT_TRUE(config.moe->score == RouterScore::kSigmoid && config.moe->correction_bias && config.moe->groups == 4 && config.moe->top_groups == 2);
  EXPECT_EQ(config.moe->is_sparse, (std::vector<bool>{false, true, true, true}));
  // The scale of scores is (1 + 0.1 ln 40)² / √16 = 0.468464, that is 1 / √4.55668.
  EXPECT_NEAR(*config.query_scalar, 4.55668, 1e-4);
  EXPECT_EQ(*read(tiny("deepseek_v3")).query_scalar, 16.0);
  EXPECT_EQ(read(with(tiny("kimi_k2"), {{"q_lora_rank", nullptr}})).latent->query_rank, 0);
  // Of a layer: queries 64·24, their norm, 24·(4·16); latent and rotated key 64·(16 + 4), their norm, 16·4·(12 + 10); output 4·10·64; two norms.
  const int64_t attention = 64 * 24 + 24 + 24 * 64 + 64 * 20 + 16 + 16 * 88 + 40 * 64 + 2 * 64, dense = 3 * 64 * 128, sparse = 65 * 8 + 3 * 64 * 32 * 9;
  EXPECT_EQ(countParameters(read(tiny("deepseek_v3"))).total, 2 * 100 * 64 + 64 + 4 * attention + dense + 3 * sparse);
  for (const char* key : {"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"}) {
    Json json = tiny("deepseek_v3");
    json.erase(key);
    EXPECT_NE(refusal(json).find(key), std::string::npos) << key;
  }
  EXPECT_NE(refusal(with(tiny("deepseek_v3"), {{"scoring_func", "softmax"}})).find("scoring_func: expected \"sigmoid\", got \"softmax\""), std::string::npos);
  EXPECT_NE(refusal(with(tiny("deepseek_v3"), {{"topk_method", "greedy"}})).find("topk_method: expected \"noaux_tc\""), std::string::npos);
  EXPECT_NE(refusal(with(tiny("deepseek_v3"), {{"rope_interleave", false}})).find("rope_interleave: expected true"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("deepseek_v3"), {{"num_key_value_heads", 2}})).find("num_key_value_heads: expected num_attention_heads = 4"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("deepseek_v3"), {{"qk_head_dim", 15}})).find("qk_head_dim: expected qk_nope_head_dim + qk_rope_head_dim = 16"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("deepseek_v3"), {{"qk_rope_head_dim", 3}})).find("qk_rope_head_dim: expected an even number"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("llama"), {{"kv_lora_rank", 16}})).find("kv_lora_rank: latent attention is not supported"), std::string::npos) << "other families have none";
}

TEST(ModelConfig, Gemma) {
  const ModelConfig gemma2 = read(tiny("gemma2"));
  EXPECT_TRUE(gemma2.norms == NormPlaces::kBoth && gemma2.activation == Activation::kGeluTanh && gemma2.tie_word_embeddings && !gemma2.qk_norm);
  EXPECT_EQ(gemma2.norm_offset, 1.0);
  EXPECT_EQ(gemma2.embedding_scale, 8.0) << "the root of 64";
  EXPECT_EQ(gemma2.attention_soft_cap, 50.0);
  EXPECT_EQ(gemma2.logit_soft_cap, 30.0);
  EXPECT_EQ(gemma2.query_scalar, 256.0);
  EXPECT_EQ(gemma2.sliding_window, (std::vector<std::optional<int64_t>>{4096, std::nullopt, 4096, std::nullopt}));
  EXPECT_EQ(read(with(tiny("gemma2"), {{"attn_logit_softcapping", nullptr}})).attention_soft_cap, 0.0);
  const ModelConfig gemma3 = read(with(tiny("gemma3_text"), {{"sliding_window", 512}, {"sliding_window_pattern", 3}}));
  EXPECT_TRUE(gemma3.qk_norm && gemma3.attention_soft_cap == 0 && gemma3.logit_soft_cap == 0);
  EXPECT_EQ(gemma3.sliding_window, (std::vector<std::optional<int64_t>>{512, 512, std::nullopt, 512}));
  EXPECT_EQ(gemma3.rope.theta, 1e6);
  EXPECT_EQ(gemma3.window_rope->theta, 10000.0);
  const Json plain = {{"rope_type", "default"}, {"rope_theta", 20000.0}}, linear = {{"rope_type", "linear"}, {"rope_theta", 5e5}, {"factor", 8.0}};
  const auto both = [&](const Json& sliding, const Json& full) { return with(tiny("gemma3_text"), {{"rope_parameters", {{"sliding_attention", sliding}, {"full_attention", full}}}}); };
  const ModelConfig by_layers = read(both(plain, linear));
  EXPECT_EQ(by_layers.rope.theta, 5e5);
  EXPECT_EQ(by_layers.rope.factor, 8.0);
  EXPECT_EQ(by_layers.window_rope->theta, 20000.0);
  EXPECT_NE(refusal(both(linear, plain)).find("rope_parameters.sliding_attention.factor"), std::string::npos);
  EXPECT_NE(refusal(with(both(plain, linear), {{"rope_local_base_freq", 7.0}})).find("the same as rope_local_base_freq"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("llama"), {{"rope_parameters", {{"full_attention", linear}}}})).find("full_attention"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("gemma3_text"), {{"use_bidirectional_attention", true}})).find("use_bidirectional_attention"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("gemma2"), {{"hidden_act", "silu"}})).find("the same as hidden_act"), std::string::npos);
}

TEST(ModelConfig, RopeStyles) {
  const Json linear = {{"type", "linear"}, {"factor", 2.0}};
  const RopeConfig expected{.type = RopeType::kLinear, .theta = 5e5, .factor = 2.0};
  EXPECT_TRUE(read(with(tiny("llama"), {{"rope_theta", 5e5}, {"rope_scaling", linear}})).rope == expected);
  const Json parameters = {{"rope_type", "linear"}, {"factor", 2}, {"rope_theta", 500000}};
  EXPECT_TRUE(read(with(tiny("llama"), {{"rope_parameters", parameters}})).rope == expected);
  const RopeConfig yarn = read(with(tiny("qwen3"), {{"max_position_embeddings", 40960},
                                                    {"rope_scaling",
                                                     {{"rope_type", "yarn"}, {"factor", 4.0},
                                                      {"original_max_position_embeddings", 32768}}}})).rope;
  EXPECT_EQ(yarn.factor, 4.0);
  EXPECT_EQ(yarn.beta_fast, 32.0);
  EXPECT_EQ(yarn.beta_slow, 1.0);
  EXPECT_TRUE(yarn.truncate);
  const RopeConfig dynamic = read(with(tiny("llama"), {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}})).rope;
  EXPECT_EQ(dynamic.original_max_position_embeddings, 2048);
}

TEST(ModelConfig, RopeRefusals) {
  const auto rope = [](const Json& scaling) { return refusal(with(tiny("llama"), {{"rope_scaling", scaling}})); };
  EXPECT_NE(rope({{"rope_type", "mrope"}}).find("rope_scaling: rope_type: expected default, linear, dynamic, llama3, "
                                                "yarn or longrope, got \"mrope\""),
            std::string::npos)
      << rope({{"rope_type", "mrope"}});
  EXPECT_NE(rope({{"rope_type", "longrope"}}).find("original_max_position_embeddings"), std::string::npos);
  EXPECT_NE(rope({{"rope_type", "linear"}}).find("factor: expected a number"), std::string::npos);
  EXPECT_NE(rope({{"rope_type", "linear"}, {"factor", "2"}}), "");
  EXPECT_NE(rope({{"rope_type", "linear"}, {"factor", 0}}), "");
  EXPECT_NE(rope({{"rope_type", "linear"}, {"factr", 2}}).find("did you mean \"factor\"?"), std::string::npos);
  EXPECT_NE(rope({{"rope_type", "llama3"}, {"factor", 8}}), "");
  EXPECT_NE(rope({{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4},
                  {"original_max_position_embeddings", 8192}}),
            "");
  EXPECT_NE(rope({{"rope_type", "yarn"}}), "");
  EXPECT_NE(rope({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}), "");
  EXPECT_NE(rope("linear"), "");
  EXPECT_NE(refusal(with(tiny("llama"), {{"rope_theta", 1e4}, {"rope_parameters", {{"rope_theta", 2e4}}}})), "");
  EXPECT_NE(refusal(with(tiny("llama"), {{"rope_theta", 0}})), "");
}

TEST(ModelConfig, TokenIds) {
  EXPECT_EQ(read(with(tiny("llama"), {{"eos_token_id", {3, 4}}})).eos_token_ids, (std::vector<int64_t>{3, 4}));
  EXPECT_TRUE(read(with(tiny("llama"), {{"eos_token_id", nullptr}})).eos_token_ids.empty());
  EXPECT_TRUE(read(with(tiny("llama"), {{"bos_token_id", -1}})).bos_token_ids.empty());
  EXPECT_NE(refusal(with(tiny("llama"), {{"eos_token_id", 100}})), "") << "vocab_size is 100";
}

struct Refusal {
  const char* key;
  const char* value;
  const char* says;
};

class Refuses : public testing::TestWithParam<Refusal> {};

TEST_P(Refuses, NamesTheKey) {
  const auto& [key, value, says] = GetParam();
  const std::string message = refusal(with(tiny("llama"), {{key, Json::parse(value)}}));
  EXPECT_NE(message.find(std::string("config.json: ") + key), std::string::npos) << message;
  EXPECT_NE(message.find(says), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Values, Refuses,
    testing::Values(
        Refusal{"num_attention_heads", "\"eight\"", "expected an integer from 1 to 65536, got \"eight\""},
        Refusal{"num_attention_heads", "0", "got 0"}, Refusal{"num_attention_heads", "-4", "got -4"},
        Refusal{"num_hidden_layers", "1000000000", "from 1 to 10000, got 1000000000"},
        Refusal{"num_key_value_heads", "3", "expected a divisor of num_attention_heads = 4, got 3"},
        Refusal{"head_dim", "15", "even number"}, Refusal{"num_attention_heads", "6", "expected a divisor of hidden_size"},
        Refusal{"hidden_size", "64.5", "got 64.5"}, Refusal{"vocab_size", "null", "but it is null"},
        Refusal{"rms_norm_eps", "-1e-5", "got -1e-05"}, Refusal{"hidden_act", "\"gelu\"", "expected \"silu\""},
        Refusal{"tie_word_embeddings", "1", "true or false"}, Refusal{"torch_dtype", "\"bf17\"", "torch dtype"},
        Refusal{"quantization_config", R"({"quant_method": "quip", "bits": 4})", "quant_method"},
        Refusal{"quantization", R"({"bits": 4})", "group_size"},
        Refusal{"partial_rotary_factor", "0.5", "only a part of each head"},
        Refusal{"attn_logit_softcapping", "50.0", "soft-capped"}, Refusal{"vision_config", "{}", "several modalities"},
        Refusal{"layer_types", R"(["linear_attention", "full_attention", "full_attention", "full_attention"])", "got"}),
    [](const auto& info) { return std::string(info.param.key) + "_" + std::to_string(info.index); });

TEST(ModelConfig, HarmlessKeysAreIgnored) {
  const Json harmless = {{"attention_dropout", 0.1}, {"initializer_range", 0.02}, {"use_cache", true}, {"pretraining_tp", 2},
                         {"partial_rotary_factor", 1.0}, {"attn_logit_softcapping", nullptr},
                         {"quantization_config", nullptr}, {"is_encoder_decoder", false}, {"unknown_future_key", 3}};
  EXPECT_TRUE(read(with(tiny("llama"), harmless)) == read(tiny("llama")));
}

TEST(ModelConfig, GptOss) {
  const ModelConfig config = read(tiny("gpt_oss"));
  EXPECT_TRUE(config.qkv_bias && config.attention_output_bias && config.attention_sinks && !config.mlp_bias);
  EXPECT_EQ(config.sliding_window, (std::vector<std::optional<int64_t>>{128, std::nullopt, 128, std::nullopt}));
  EXPECT_EQ(config.activation, Activation::kClampedSwiGlu);
  EXPECT_EQ(config.activation_limit, 7.0);
  EXPECT_EQ(config.rope.theta, 150000.0);
  EXPECT_FALSE(config.rope.truncate);
  EXPECT_TRUE(config.moe->router_bias && config.moe->expert_bias && config.moe->norm_topk_prob);
  EXPECT_EQ(config.moe->top_k, 4);
  EXPECT_EQ(config.moe->intermediate_size, 128);
  EXPECT_EQ(read(with(tiny("gpt_oss"), {{"swiglu_limit", 3.5}})).activation_limit, 3.5);
  EXPECT_NE(refusal(with(tiny("gpt_oss"), {{"experts_per_token", 2}})).find("the same as num_experts_per_tok = 4"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("gpt_oss"), {{"rope_scaling", nullptr}})).find("rope_scaling"), std::string::npos);
  EXPECT_NE(refusal(with(tiny("llama"), {{"swiglu_limit", 7.0}})).find("clamped"), std::string::npos);
}

TEST(CountParameters, GptOssByHand) {
  // per layer: q,o 2·64·64, k,v 2·64·32, their biases 64 + 2·32 + 64, sinks 4, norms 2·64, router 64·8 + 8 = 13132;
  // expert 3·64·128 + 2·128 + 64 = 24896
  const ParameterCount count = countParameters(read(tiny("gpt_oss")));
  EXPECT_EQ(count.total, 12800 + 64 + 4 * (13132 + 8 * 24896));
  EXPECT_EQ(count.active, 12800 + 64 + 4 * (13132 + 4 * 24896));
}

TEST(ModelConfig, SizesWithoutDefaultsAreRequired) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"}) {
    Json json = tiny("llama");
    json.erase(key);
    EXPECT_NE(refusal(json).find("but it is missing"), std::string::npos) << key;
  }
}

TEST(ModelConfig, TogetherImpossibleSizesAreRefused) {
  const Json huge = {{"hidden_size", 1 << 20}, {"num_attention_heads", 1 << 10}, {"intermediate_size", 1 << 24},
                     {"num_hidden_layers", 10000}};
  EXPECT_NE(refusal(with(tiny("llama"), huge)).find("parameters"), std::string::npos);
}

TEST(CountParameters, TinyLlamaByHand) {
  // embedding and output 2·100·64 = 12800; per layer q,o 2·64·64, k,v 2·64·32, mlp 3·64·128, norms 2·64 = 36992; norm 64
  EXPECT_EQ(countParameters(read(tiny("llama"))).total, 12800 + 4 * 36992 + 64);
  EXPECT_EQ(countParameters(read(tiny("llama"))).embedding, 12800);
  // biases: q 64, k,v 2·32, o 64, gate,up 2·128, down 64 = 512 per layer
  const Json biased = with(tiny("llama"), {{"attention_bias", true}, {"mlp_bias", true}, {"tie_word_embeddings", true}});
  EXPECT_EQ(countParameters(read(biased)).total, 6400 + 4 * (36992 + 512) + 64);
}

TEST(CountParameters, OnlyChosenExpertsAreActive) {
  // qwen3_moe: attention 12288, q/k norms 2·16, norms 128, router 64·8, expert 3·64·32 = 6144
  const ParameterCount count = countParameters(read(with(tiny("qwen3_moe"), {{"num_experts_per_tok", 2}})));
  EXPECT_EQ(count.total, 12800 + 64 + 4 * (12288 + 32 + 128 + 512 + 8 * 6144));
  EXPECT_EQ(count.active, 12800 + 64 + 4 * (12288 + 32 + 128 + 512 + 2 * 6144));
}

}  // namespace
}  // namespace exo
