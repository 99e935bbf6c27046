#include "frontend/tokenizer/tokenizer_config.h"

#include <charconv>

namespace exo::tokenizer {
namespace {

/// "bos_token": "<s>", {"content": "<s>", …} or null.
Result<std::optional<std::string>> tokenText(const JsonNode& node) {
  if (node.isNull()) return std::optional<std::string>();
  const JsonNode content = node.value().is_object() ? node.member("content") : node;
  EXO_ASSIGN(std::string text, content.string());
  return std::optional<std::string>(std::move(text));
}

Result<std::optional<bool>> flag(const JsonNode& node) {
  if (node.isNull()) return std::optional<bool>();
  EXO_ASSIGN(const bool value, node.boolean());
  return std::optional<bool>(value);
}

Result<std::vector<AddedToken>> addedTokens(const JsonNode& node) {
  std::vector<AddedToken> tokens;
  if (node.isNull()) return tokens;
  EXO_TRY(node.requireObject());
  for (const auto& [key, value] : node.value().items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= kIdLimit) {
      return invalid("tokenizer: ", node.path(), ": the key \"", key, "\" must be an id from 0 to ", kIdLimit - 1);
    }
    EXO_ASSIGN(AddedToken token, AddedToken::parse(JsonNode(value, node.path() + "." + key), id));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

Result<TokenizerConfig> TokenizerConfig::parse(const nlohmann::json& document) {
  const JsonNode root(document, "tokenizer_config");
  EXO_TRY(root.requireObject());
  TokenizerConfig config;
  EXO_ASSIGN(config.bos_token, tokenText(root.member("bos_token")));
  EXO_ASSIGN(config.eos_token, tokenText(root.member("eos_token")));
  EXO_ASSIGN(config.add_bos_token, flag(root.member("add_bos_token")));
  EXO_ASSIGN(config.add_eos_token, flag(root.member("add_eos_token")));
  EXO_ASSIGN(config.added_tokens, addedTokens(root.member("added_tokens_decoder")));
  return config;
}

}  // namespace exo::tokenizer
