// The tokens of a model by their bytes, in the order of a dictionary, so that tokens with the same beginning are looked at once.
// Threads: immutable.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace exo::serve {

class Vocabulary {
 public:
  /// bytes[id]: what the token stands for; empty for tokens that stand for no text (special ones, padding), which grammars never
  /// allow. `eos_ids` may come where a text may end.
  Vocabulary(std::vector<std::string> bytes, std::vector<int32_t> eos_ids);

  /// Walks all tokens. `enter(depth, byte)` is asked at each new prefix of depth bytes, after those of its own prefixes: false leaves
  /// out every token that begins so. `token(id)` comes for every token all of whose prefixes were entered.
  template <class Enter, class Token>
  void walk(Enter enter, Token token) const {
    for (size_t i = 0; i < nodes_.size();) {
      const Node& node = nodes_[i];
      if (!enter(node.depth, node.byte)) {
        i = node.end;
        continue;
      }
      for (uint32_t k = node.first_token; k < node.last_token; ++k) token(tokens_[k]);
      ++i;
    }
  }

  std::span<const int32_t> eosIds() const { return eos_ids_; }
  const std::string& bytes(int32_t id) const { return bytes_[static_cast<size_t>(id)]; }
  int32_t size() const { return static_cast<int32_t>(bytes_.size()); }

 private:
  /// A prefix of tokens; its longer ones follow it up to `end`.
  struct Node {
    uint32_t end = 0, first_token = 0, last_token = 0;
    uint16_t depth = 0;   // in bytes, from 1
    uint8_t byte = 0;     // the last one
  };
  std::vector<std::string> bytes_;
  std::vector<int32_t> eos_ids_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
};

}  // namespace exo::serve
