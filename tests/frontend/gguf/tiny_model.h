// A whole GGUF model of the tests: llama of one layer, small enough that every byte can be changed in turn.
// H = 4, two heads of 2, one KV head, V = 5.
#pragma once

#include "tests/frontend/gguf/gguf_image.h"

namespace exo::testing {

inline GgufImage tinyMetadata() {
  GgufImage image;
  image.text("general.architecture", "llama").u32("llama.block_count", 1).u32("llama.context_length", 16).u32("llama.embedding_length", 4);
  image.u32("llama.feed_forward_length", 6).u32("llama.attention.head_count", 2).u32("llama.attention.head_count_kv", 1).f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  image.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "llama-bpe").texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<s>", "</s>"});
  image.texts("tokenizer.ggml.merges", {"a b"}).i32s("tokenizer.ggml.token_type", {1, 1, 1, 3, 3}).u32("tokenizer.ggml.bos_token_id", 3).u32("tokenizer.ggml.eos_token_id", 4);
  return image;
}

/// Element i of a tensor is i.
inline std::string counting(int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i));
  return bytesOf(values);
}

inline GgufImage& addTinyTensors(GgufImage& image) {
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t dim : shape) count *= dim;
    image.tensor(name, 0, shape, counting(count));
  };
  add("token_embd.weight", {5, 4}), add("output_norm.weight", {4});
  add("blk.0.attn_norm.weight", {4}), add("blk.0.ffn_norm.weight", {4});
  add("blk.0.attn_q.weight", {4, 4}), add("blk.0.attn_k.weight", {2, 4}), add("blk.0.attn_v.weight", {2, 4}), add("blk.0.attn_output.weight", {4, 4});
  add("blk.0.ffn_gate.weight", {6, 4}), add("blk.0.ffn_up.weight", {6, 4}), add("blk.0.ffn_down.weight", {4, 6});
  return image;
}

}  // namespace exo::testing
