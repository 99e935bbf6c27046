#include "executor/serve/dialects/chat_prompt.h"

#include "executor/serve/answer_marks.h"

namespace exo::serve {
namespace {

std::string spelling(const tokenizer::Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? tokenizer.idToToken(*id).value_or("") : "";
}

/// Special tokens are left out of the text, unless asked for.
bool isSpecial(const tokenizer::Tokenizer& tokenizer, const char* mark) {
  const auto id = tokenizer.tokenToId(mark);
  return id && tokenizer.isSpecial(*id);
}

bool knows(const ModelInfo& model, const char* word) { return model.chat_template->source().find(word) != std::string::npos; }

std::vector<std::string> toolNames(const Json& tools) {
  std::vector<std::string> names;
  for (const Json& tool : tools) names.push_back(tool.at("function").at("name").get<std::string>());
  return names;
}

Check checkModel(const ModelInfo& model) {
  if (!model.tokenizer) return refuse("model", "\"", model.name, "\" has no tokenizer; send token ids to /v1/completions");
  if (!model.chat_template) return refuse("messages", "\"", model.name, "\" has no chat template; send text to /v1/completions");
  return std::monostate{};
}

Check addReasoning(const ModelInfo& model, const ChatInput& input, Json& variables) {
  if (!input.reasoning_effort.empty() && knows(model, "reasoning_effort")) {
    variables["reasoning_effort"] = input.reasoning_effort;
    return std::monostate{};
  }
  if (input.reasoning == Reasoning::kDefault) return std::monostate{};
  if (knows(model, "enable_thinking")) {
    variables["enable_thinking"] = input.reasoning == Reasoning::kOn;
    return std::monostate{};
  }
  const bool can_reason = answerFormatOf(model.chat_template->source()).reasoning;
  if (input.reasoning == Reasoning::kOff && can_reason) return refuse("reasoning", "\"", model.name, "\" always reasons; its template has no switch for it");
  if (input.reasoning == Reasoning::kOn && !can_reason) return refuse("reasoning", "\"", model.name, "\" does not reason");
  return std::monostate{};
}

Outcome<Json> templateVariables(const ModelInfo& model, const ChatInput& input) {
  Json variables = {{"messages", input.messages},
                    {"tools", input.tools.empty() ? Json(nullptr) : input.tools},
                    {"add_generation_prompt", input.add_generation_prompt && !input.continue_final_message}};
  variables["bos_token"] = spelling(*model.tokenizer, model.bos_id ? model.bos_id : model.tokenizer->bosId());
  const auto eos = model.tokenizer->eosIds();
  variables["eos_token"] = eos.empty() ? "" : spelling(*model.tokenizer, eos[0]);
  EXO_TRY(addReasoning(model, input, variables));
  for (const auto& [name, value] : input.variables.items()) {
    if (name == "messages" || name == "tools" || name == "add_generation_prompt") return refuse("chat_template_kwargs." + name, "has a field of its own");
    variables[name] = value;
  }
  return variables;
}

std::string withoutEndSpace(const std::string& text) { return text.substr(0, text.find_last_not_of(" \t\r\n") + 1); }

/// What templates write behind the last message's text is its end, and it has none yet.
Outcome<QuotedText> cutBehindFinalMessage(const QuotedText& text, const Json& messages) {
  const Json& content = messages.back().value("content", Json(""));
  const std::string begun = withoutEndSpace(content.is_string() ? content.get<std::string>() : "");
  const size_t place = text.text.rfind(begun);
  if (begun.empty() || place == std::string::npos) return refuse("messages", "the last message cannot be continued: the chat template does not write its text as it is");
  return text.part(0, place + begun.size());
}

}  // namespace

bool endsWithAssistant(const Json& messages) {
  return !messages.empty() && messages.back().value("role", "") == "assistant" && !messages.back().contains("tool_calls");
}

Json argumentsForTemplate(const Json& arguments) {
  if (!arguments.is_string()) return arguments;
  const Json parsed = Json::parse(arguments.get<std::string>(), nullptr, false);
  return parsed.is_object() ? parsed : arguments;
}

Outcome<QuotedText> renderChatText(const ModelInfo& model, const ChatInput& input) {
  EXO_TRY(checkModel(model));
  EXO_ASSIGN(const Json variables, templateVariables(model, input));
  auto text = model.chat_template->renderPrompt(variables);
  if (!text.ok()) return refuse("messages", "the model's chat template refuses them: ", text.error().message());
  if (!input.continue_final_message) return std::move(*text);
  return cutBehindFinalMessage(*text, input.messages);
}

Outcome<ChatPrompt> renderChat(const ModelInfo& model, const ChatInput& input) {
  EXO_ASSIGN(const QuotedText text, renderChatText(model, input));
  const AnswerFormat format = answerFormatOf(model.chat_template->source());
  ChatPrompt prompt;
  if (!input.tools.empty()) {
    if (format.tools == ToolFormat::kNone) return refuse("tools", "it is not known how \"", model.name, "\" calls tools: its chat template has none of the known forms");
    prompt.parser.tools = format.tools;
    prompt.parser.tool_names = toolNames(input.tools);
    prompt.special_text = isSpecial(*model.tokenizer, toolMark(format.tools));
  }
  prompt.parser.reasoning = format.reasoning;
  prompt.special_text |= format.reasoning && isSpecial(*model.tokenizer, marks::kThink);
  prompt.parser.starts_in_reasoning = format.reasoning && withoutEndSpace(text.text).ends_with(marks::kThink);
  auto tokens = model.tokenizer->encode(text, tokenizer::AddSpecial::kNo);   // the template writes bos itself
  if (!tokens.ok()) return refuse("messages", tokens.error().message());
  prompt.tokens = std::move(*tokens);
  const bool may_reason = format.reasoning && !withoutEndSpace(text.text).ends_with(marks::kEndThink);
  EXO_ASSIGN(prompt.grammar, answerGrammar(input.form, input.tools, {prompt.parser.tools, may_reason, prompt.parser.starts_in_reasoning}));
  if (prompt.grammar && input.continue_final_message) return refuse("messages", "an answer that is begun cannot be held to a form; end with a message of the user");
  return prompt;
}

Outcome<std::vector<int32_t>> encodePlain(const ModelInfo& model, const std::string& text, const std::string& field) {
  if (!model.tokenizer) return refuse(field, "\"", model.name, "\" has no tokenizer; send token ids");
  auto tokens = model.tokenizer->encode(text, tokenizer::Specials::kAsText, tokenizer::AddSpecial::kYes);
  if (!tokens.ok()) return refuse(field, tokens.error().message());
  if (tokens->empty() && model.bos_id) tokens->push_back(*model.bos_id);
  if (tokens->empty()) return refuse(field, "expected some text");
  return std::move(*tokens);
}

}  // namespace exo::serve
