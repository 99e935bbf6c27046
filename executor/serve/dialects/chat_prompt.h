// From messages to the tokens of a prompt, by the model's chat template. Every dialect brings its messages into one form:
// that of OpenAI's chat completions, which templates are written for.
#pragma once

#include "executor/serve/dialects/answer_form.h"
#include "executor/serve/dialects/fields.h"

namespace exo::serve {

/// How much a model that can reason shall.
enum class Reasoning { kDefault, kOff, kOn };

struct ChatInput {
  Json messages = Json::array();                 // {role, content, tool_calls, tool_call_id, name, reasoning_content}
  Json tools = Json::array();                    // {type: "function", function: {name, description, parameters}}
  Json variables = Json::object();               // more of the template's variables (chat_template_kwargs)
  Reasoning reasoning = Reasoning::kDefault;
  std::string reasoning_effort;                  // for templates that know the word; empty: none given
  bool add_generation_prompt = true;
  bool continue_final_message = false;           // the answer goes on with the text of the last message
  AnswerForm form;
};

struct ChatPrompt {
  std::vector<int32_t> tokens;
  AnswerParserOptions parser;
  bool special_text = false;                     // for CompletionRequest::special_text
  std::optional<Grammar> grammar;                // of the whole answer; for constrain()
};

/// Errors: no template, one that refuses the messages (its own words), tools or reasoning that it has no place for, a form that cannot
/// be had.
Outcome<ChatPrompt> renderChat(const ModelInfo& model, const ChatInput& input);
/// Only the text, as the template has it; quoted is what came from the messages.
Outcome<QuotedText> renderChatText(const ModelInfo& model, const ChatInput& input);

/// Plain text as a prompt, with what the tokenizer begins texts with. Error: no tokenizer, no token.
Outcome<std::vector<int32_t>> encodePlain(const ModelInfo& model, const std::string& text, const std::string& field);

/// Whether the last message is the beginning of the answer.
bool endsWithAssistant(const Json& messages);

/// `arguments` of a tool call, given as JSON text, as templates expect them: an object, where they are one.
Json argumentsForTemplate(const Json& arguments);

}  // namespace exo::serve
