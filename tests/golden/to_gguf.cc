#include "tests/golden/to_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "codegen/layout.h"
#include "frontend/checkpoint/checkpoint.h"
#include "tests/frontend/gguf/gguf_image.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;

struct Element {
  uint32_t type;
  int64_t block;
  std::string (*pack)(const float*);
};

std::string scaled(const float* in, float divisor, bool four_bits) {
  float signed_max = 0;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(in[i]) > std::fabs(signed_max)) signed_max = in[i];
  const uint16_t half = codegen::toHalf(four_bits ? signed_max / divisor : std::fabs(signed_max) / divisor);
  const float scale = codegen::fromHalf(half);
  const auto integer = [&](int i) { return scale == 0 ? 0 : std::clamp(static_cast<int>(std::nearbyint(in[i] / scale)), four_bits ? -8 : -127, four_bits ? 7 : 127); };
  std::string block = bytesOf(half);
  if (four_bits)
    for (int i = 0; i < 16; ++i) block += static_cast<char>((integer(i) + 8) | (integer(i + 16) + 8) << 4);
  else
    for (int i = 0; i < 32; ++i) block += static_cast<char>(integer(i));
  return block;
}

Element elementOf(GgufPrecision precision) {
  switch (precision) {
    case GgufPrecision::kF32: break;
    case GgufPrecision::kF16: return {1, 1, [](const float* in) { return bytesOf(codegen::toHalf(*in)); }};
    case GgufPrecision::kBF16: return {30, 1, [](const float* in) { return bytesOf(codegen::toBFloat(*in)); }};
    case GgufPrecision::kQ8: return {8, 32, [](const float* in) { return scaled(in, 127, false); }};
    case GgufPrecision::kQ8Wide: return {8, 32, [](const float* in) { return scaled(in, 60, false); }};
    case GgufPrecision::kQ4Wide: return {2, 32, [](const float* in) { return scaled(in, 6, true); }};
  }
  return {0, 1, [](const float* in) { return bytesOf(*in); }};
}

class Converter {
 public:
  Converter(const fs::path& directory, GgufPrecision precision) : directory_(directory), element_(elementOf(precision)) {}

  void run(const fs::path& file) {
    auto config = loadModelConfig(directory_);
    auto checkpoint = Checkpoint::open(directory_);
    ASSERT_TRUE(config.ok()) << config.error();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
    config_ = *config;
    checkpoint_ = &*checkpoint;
    metadata();
    vocabulary();
    tensors();
    std::ofstream(file, std::ios::binary) << image_.build();
  }

 private:
  void metadata() {
    const std::map<std::string, std::string> architectures = {{"llama", "llama"}, {"mixtral", "llama"}, {"qwen3", "qwen3"}, {"qwen3_moe", "qwen3moe"},
                                                              {"qwen2_moe", "qwen2moe"}, {"olmo2", "olmo2"}, {"phi3", "phi3"}, {"glm4_moe", "glm4moe"},
                                                              {"gemma2", "gemma2"}, {"gemma3_text", "gemma3"}, {"gpt_oss", "gpt-oss"}};
    architecture_ = architectures.at(config_.family);
    const auto u32 = [&](const char* key, int64_t value) { image_.u32(architecture_ + "." + key, static_cast<uint32_t>(value)); };
    const auto f32 = [&](const char* key, double value) { image_.f32(architecture_ + "." + key, static_cast<float>(value)); };
    image_.text("general.architecture", architecture_);
    u32("block_count", config_.num_layers), u32("context_length", config_.max_position_embeddings), u32("embedding_length", config_.hidden_size);
    u32("feed_forward_length", config_.intermediate_size), u32("attention.head_count", config_.num_heads), u32("attention.head_count_kv", config_.num_kv_heads);
    u32("attention.key_length", config_.head_dim), u32("attention.value_length", config_.head_dim);
    f32("attention.layer_norm_rms_epsilon", config_.rms_norm_eps), f32("rope.freq_base", config_.rope.theta);
    if (config_.moe) {
      u32("expert_count", config_.moe->num_experts), u32("expert_used_count", config_.moe->top_k);
      if (config_.family != "mixtral") u32("expert_feed_forward_length", config_.moe->intermediate_size);
      if (config_.family == "qwen2_moe") u32("expert_shared_feed_forward_length", config_.moe->shared_intermediate_size);
    }
    if (config_.family == "glm4_moe") {
      u32("expert_shared_count", 1), u32("leading_dense_block_count", 1), u32("expert_gating_func", 2);
      u32("expert_group_count", config_.moe->groups), u32("expert_group_used_count", config_.moe->top_groups);
      f32("expert_weights_scale", config_.moe->scale), image_.boolean(architecture_ + ".expert_weights_norm", config_.moe->norm_topk_prob);
    }
    if (config_.rotary_dim) u32("rope.dimension_count", *config_.rotary_dim);
    if (config_.sliding_window[0]) u32("attention.sliding_window", *config_.sliding_window[0]);
    if (config_.attention_soft_cap > 0) f32("attn_logit_softcapping", config_.attention_soft_cap);
    if (config_.logit_soft_cap > 0) f32("final_logit_softcapping", config_.logit_soft_cap);
    rope();
  }

  void rope() {
    const auto key = [&](const char* name) { return architecture_ + ".rope.scaling." + name; };
    if (config_.rope.type == RopeType::kDefault) return;
    if (config_.rope.type == RopeType::kLinear || config_.rope.type == RopeType::kYarn) {
      image_.text(key("type"), config_.rope.type == RopeType::kYarn ? "yarn" : "linear").f32(key("factor"), static_cast<float>(config_.rope.factor));
      if (config_.rope.type == RopeType::kYarn) image_.u32(key("original_context_length"), static_cast<uint32_t>(config_.rope.original_max_position_embeddings));
      return;
    }
    if (config_.rope.type == RopeType::kLongRope) {
      const double attention = ropeFrequencies(config_.rope, config_.rotaryDim(), config_.max_position_embeddings).attention_scaling;
      image_.u32(key("original_context_length"), static_cast<uint32_t>(config_.rope.original_max_position_embeddings)).f32(key("attn_factor"), static_cast<float>(attention));
      for (const auto& [name, list] : {std::pair("long", config_.rope.long_factor), std::pair("short", config_.rope.short_factor)})
        image_.tensor(std::string("rope_factors_") + name + ".weight", 0, {static_cast<int64_t>(list.size())}, bytesOf(std::vector<float>(list.begin(), list.end())));
      return;
    }
    RopeConfig plain;
    plain.theta = config_.rope.theta;
    const auto frequencies = ropeFrequencies(plain, config_.head_dim, 0), wanted = ropeFrequencies(config_.rope, config_.head_dim, config_.max_position_embeddings);
    std::vector<float> factors;
    for (size_t i = 0; i < frequencies.inverse_frequencies.size(); ++i) factors.push_back(frequencies.inverse_frequencies[i] / wanted.inverse_frequencies[i]);
    image_.tensor("rope_freqs.weight", 0, {config_.head_dim / 2}, bytesOf(factors));
  }

  void vocabulary() {
    std::ifstream in(directory_ / "tokenizer.json");
    if (!in) return;
    const auto json = nlohmann::json::parse(in);
    std::vector<std::string> tokens(static_cast<size_t>(config_.vocab_size)), merges;
    std::vector<int32_t> types(tokens.size(), 5);
    for (const auto& [token, id] : json["model"]["vocab"].items()) tokens[id.get<size_t>()] = token, types[id.get<size_t>()] = 1;
    for (const auto& added : json["added_tokens"]) tokens[added["id"].get<size_t>()] = added["content"], types[added["id"].get<size_t>()] = 3;
    for (size_t id = 0; id < tokens.size(); ++id)
      if (types[id] == 5) tokens[id] = "[PAD" + std::to_string(id) + "]";
    for (const auto& merge : json["model"]["merges"]) merges.push_back(merge.is_string() ? merge.get<std::string>() : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    image_.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", architecture_ == "llama" ? "llama-bpe" : "qwen2").texts("tokenizer.ggml.tokens", tokens);
    image_.texts("tokenizer.ggml.merges", merges).i32s("tokenizer.ggml.token_type", types);
    if (!config_.bos_token_ids.empty()) image_.u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(config_.bos_token_ids[0]));
    image_.u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(config_.eos_token_ids.at(0)));
    image_.text("tokenizer.chat_template", "{{ messages[0].content }}");
  }

  std::string packed(const std::vector<float>& values) const {
    std::string bytes;
    for (size_t i = 0; i < values.size(); i += static_cast<size_t>(element_.block)) bytes += element_.pack(values.data() + i);
    return bytes;
  }

  std::vector<float> read(const std::string& name) const {
    const StoredTensor* stored = checkpoint_->stored(name);
    EXO_CHECK(stored != nullptr) << name;
    std::vector<float> values(static_cast<size_t>(stored->rows() * stored->columns()));
    EXPECT_TRUE(checkpoint_->readAll({name, stored->traits().shape}, values).ok());
    return values;
  }

  void add(const std::string& gguf, const std::string& ours) {
    const StoredTensor* stored = checkpoint_->stored(ours);
    if (!stored) return;
    if (stored->traits().shape.size() == 1) {
      std::vector<float> values = read(ours);
      if (gguf.ends_with("norm.weight"))
        for (float& value : values) value += static_cast<float>(config_.norm_offset);
      image_.tensor(gguf, 0, stored->traits().shape, bytesOf(values));
    }
    else image_.tensor(gguf, element_.type, stored->traits().shape, packed(read(ours)));
  }

  /// Halves that rope turns become neighbours: row j + s·D/2 of a head goes to 2j + s.
  void addHeads(const std::string& gguf, const std::string& ours) {
    if (architecture_ != "llama") return add(gguf, ours);
    const StoredTensor* stored = checkpoint_->stored(ours);
    const std::vector<float> values = read(ours);
    std::vector<float> paired(values.size());
    const int64_t columns = stored->columns(), dim = config_.head_dim;
    for (int64_t row = 0; row < stored->rows(); ++row) {
      const int64_t inside = row % dim, target = row - inside + 2 * (inside % (dim / 2)) + inside / (dim / 2);
      std::copy_n(values.begin() + row * columns, columns, paired.begin() + target * columns);
    }
    image_.tensor(gguf, element_.type, stored->traits().shape, packed(paired));
  }

  void addExperts(const std::string& gguf, const std::string& before, const std::string& after) {
    std::vector<float> all;
    std::vector<int64_t> shape = {config_.moe->num_experts};
    for (int64_t expert = 0; expert < config_.moe->num_experts; ++expert) {
      const std::string name = before + std::to_string(expert) + after;
      const auto values = read(name);
      all.insert(all.end(), values.begin(), values.end());
      if (expert == 0) shape.insert(shape.end(), checkpoint_->stored(name)->traits().shape.begin(), checkpoint_->stored(name)->traits().shape.end());
    }
    if (shape.size() == 2) image_.tensor(gguf, 0, shape, bytesOf(all));
    else image_.tensor(gguf, element_.type, shape, packed(all));
  }

  void tensors() {
    add("token_embd.weight", "model.embed_tokens.weight"), add("output_norm.weight", "model.norm.weight"), add("output.weight", "lm_head.weight");
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const std::string blk = "blk." + std::to_string(layer) + ".", ours = "model.layers." + std::to_string(layer) + ".";
      add(blk + "attn_norm.weight", ours + "input_layernorm.weight");
      const bool both = config_.norms == NormPlaces::kBoth, behind = config_.norms != NormPlaces::kBefore || config_.family == "glm4_moe" || config_.family == "gpt_oss";
      add(blk + (behind ? "post_attention_norm.weight" : "ffn_norm.weight"), ours + "post_attention_layernorm.weight");
      if (both) add(blk + "ffn_norm.weight", ours + "pre_feedforward_layernorm.weight");
      add(blk + "post_ffw_norm.weight", ours + "post_feedforward_layernorm.weight");
      add(blk + "attn_qkv.weight", ours + "self_attn.qkv_proj.weight"), add(blk + "ffn_up.weight", ours + "mlp.gate_up_proj.weight");
      for (const char* part : {"q", "k", "v"}) add(blk + "attn_" + part + ".bias", ours + "self_attn." + part + "_proj.bias");
      add(blk + "attn_output.bias", ours + "self_attn.o_proj.bias"), add(blk + "attn_sinks.weight", ours + "self_attn.sinks");
      addHeads(blk + "attn_q.weight", ours + "self_attn.q_proj.weight"), addHeads(blk + "attn_k.weight", ours + "self_attn.k_proj.weight");
      add(blk + "attn_v.weight", ours + "self_attn.v_proj.weight"), add(blk + "attn_output.weight", ours + "self_attn.o_proj.weight");
      add(blk + "attn_q_norm.weight", ours + "self_attn.q_norm.weight"), add(blk + "attn_k_norm.weight", ours + "self_attn.k_norm.weight");
      for (const char* part : {"gate", "up", "down"}) add(blk + "ffn_" + part + ".weight", ours + "mlp." + part + "_proj.weight");
      if (!config_.isSparse(layer)) continue;
      if (config_.family == "gpt_oss") {
        add(blk + "ffn_gate_inp.bias", ours + "mlp.router.bias"), add(blk + "ffn_gate_inp.weight", ours + "mlp.router.weight");
        for (const char* part : {"gate", "up", "down"}) {
          addExperts(blk + "ffn_" + part + "_exps.weight", ours + "mlp.experts.", std::string(".") + part + "_proj.weight");
          addExperts(blk + "ffn_" + part + "_exps.bias", ours + "mlp.experts.", std::string(".") + part + "_proj.bias");
        }
        continue;
      }
      add(blk + "exp_probs_b.bias", ours + "mlp.gate.e_score_correction_bias");
      for (const char* part : {"gate", "up", "down"})
        for (const char* shared : {"shared_expert.", "shared_experts."}) add(blk + "ffn_" + part + "_shexp.weight", ours + "mlp." + shared + part + "_proj.weight");
      if (config_.moe->shared_gate) image_.tensor(blk + "ffn_gate_inp_shexp.weight", 0, {config_.hidden_size}, bytesOf(read(ours + "mlp.shared_expert_gate.weight")));
      const bool mixtral = config_.family == "mixtral";
      const std::string moe = ours + (mixtral ? "block_sparse_moe." : "mlp.");
      const std::vector<float> router = read(moe + "gate.weight");
      image_.tensor(blk + "ffn_gate_inp.weight", 0, {config_.moe->num_experts, config_.hidden_size}, bytesOf(router));
      addExperts(blk + "ffn_gate_exps.weight", moe + "experts.", mixtral ? ".w1.weight" : ".gate_proj.weight");
      addExperts(blk + "ffn_up_exps.weight", moe + "experts.", mixtral ? ".w3.weight" : ".up_proj.weight");
      addExperts(blk + "ffn_down_exps.weight", moe + "experts.", mixtral ? ".w2.weight" : ".down_proj.weight");
    }
  }

  fs::path directory_;
  Element element_;
  ModelConfig config_;
  const Checkpoint* checkpoint_ = nullptr;
  std::string architecture_;
  GgufImage image_;
};

}  // namespace

void writeGguf(const fs::path& model, GgufPrecision precision, const fs::path& file) { Converter(model, precision).run(file); }

}  // namespace exo::testing
