#include "executor/serve/dialects/tokenize.h"

#include "executor/serve/dialects/openai_fields.h"

namespace exo::serve {
namespace {

Outcome<std::vector<int32_t>> chatTokens(const Fields& body, const ModelInfo& model) {
  ChatInput input;
  EXO_ASSIGN(input.messages, readOpenAiMessages(body));
  EXO_TRY(readOpenAiTools(body, input));
  EXO_ASSIGN(const auto generation_prompt, body.flag("add_generation_prompt"));
  input.add_generation_prompt = generation_prompt.value_or(true);
  EXO_ASSIGN(ChatPrompt prompt, renderChat(model, input));
  return std::move(prompt.tokens);
}

Outcome<std::vector<int32_t>> textTokens(const Fields& body, const ModelInfo& model) {
  EXO_ASSIGN(const std::string text, body.neededText(body.find("prompt") ? "prompt" : "content"));
  EXO_ASSIGN(const auto add_special, body.flag(body.find("add_special_tokens") ? "add_special_tokens" : "add_special"));
  EXO_ASSIGN(const auto parse_special, body.flag("parse_special"));
  auto tokens = model.tokenizer->encode(text, parse_special.value_or(true) ? tokenizer::Specials::kParse : tokenizer::Specials::kAsText,
                                        add_special.value_or(false) ? tokenizer::AddSpecial::kYes : tokenizer::AddSpecial::kNo);
  if (!tokens.ok()) return refuse("content", tokens.error().message());
  return std::move(*tokens);
}

ApiError noTokenizer(const ModelInfo& model) { return refuse("model", "\"", model.name, "\" has no tokenizer"); }

Json pieces(const std::vector<int32_t>& tokens, const tokenizer::Tokenizer& tokenizer) {
  Json all = Json::array();
  for (const int32_t id : tokens) all.push_back({{"id", id}, {"piece", tokenizer.idToToken(id).value_or("")}});
  return all;
}

}  // namespace

Outcome<Json> tokenize(const Json& json, const ModelInfo& model) {
  const Fields body(json);
  if (!model.tokenizer) return noTokenizer(model);
  EXO_ASSIGN(const auto with_pieces, body.flag("with_pieces"));
  EXO_ASSIGN(const std::vector<int32_t> tokens, body.find("messages") ? chatTokens(body, model) : textTokens(body, model));
  return Json{{"tokens", with_pieces.value_or(false) ? pieces(tokens, *model.tokenizer) : Json(tokens)}, {"count", tokens.size()}, {"max_model_len", model.context_length}};
}

Outcome<Json> detokenize(const Json& json, const ModelInfo& model) {
  const Fields body(json);
  if (!model.tokenizer) return noTokenizer(model);
  EXO_ASSIGN(const Json* given, body.array("tokens"));
  if (!given) return refuse("tokens", "is missing; expected an array of token ids");
  std::vector<int32_t> tokens;
  for (const Json& entry : *given) {
    if (!entry.is_number_integer() || entry < 0 || entry >= model.vocab_size) return refuse("tokens", "expected token ids in [0, ", model.vocab_size, "), got ", describe(entry));
    tokens.push_back(entry.get<int32_t>());
  }
  const std::string text = model.tokenizer->decode(tokens, tokenizer::SkipSpecial::kNo);
  return Json{{"content", text}, {"prompt", text}};
}

}  // namespace exo::serve
