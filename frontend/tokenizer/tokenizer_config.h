// What tokenizer_config.json adds to tokenizer.json: which tokens begin and end a text, and tokens that only it lists.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/tokenizer/added_tokens.h"

namespace exo::tokenizer {

struct TokenizerConfig {
  std::optional<std::string> bos_token, eos_token;
  std::optional<bool> add_bos_token, add_eos_token;
  std::vector<AddedToken> added_tokens;  // "added_tokens_decoder"

  /// `json`: the text of the file. Members that concern other parts (chat_template, model_max_length …) are left to them.
  static Result<TokenizerConfig> parse(const nlohmann::json& document);
};

}  // namespace exo::tokenizer
