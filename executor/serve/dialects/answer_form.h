// What form an answer must have: JSON of a schema, calls that must be made, arguments as their tools declare them. From the fields of
// the dialects to one grammar of the whole answer, as the model's family writes it: reasoning, then content or calls.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "executor/serve/dialects/answer_parser.h"
#include "executor/serve/dialects/fields.h"
#include "executor/serve/grammar/json_grammar.h"

namespace exo::serve {

struct AnswerForm {
  enum class Content { kText, kObject, kSchema, kRegex, kChoices };
  Content content = Content::kText;
  Json value;                              // kSchema: the schema; kRegex: a text; kChoices: texts
  std::string field = "response_format";   // for errors: what asks for the form, and where `value` stands

  bool must_call = false;                  // calls, and no content
  std::string function;                    // must_call: exactly one call, of this function; empty: any of those offered
  bool parallel = true;                    // more than one call
  std::vector<std::string> strict;         // names of tools whose arguments are as their schema says

  bool asksForContent() const { return content != Content::kText; }
};

/// {type: "text"}, {type: "json_object", schema?}, or {type: "json_schema", schema, …}, where `schema_in` names the object around
/// the schema ("json_schema"); null: it stands beside the type. Null `given`: nothing asked for.
Check readJsonFormat(const Json* given, const std::string& path, const char* schema_in, AnswerForm& form);
/// vLLM's guided_json, guided_regex and guided_choice.
Check readGuided(const Fields& body, AnswerForm& form);
/// none, auto, required, or a function: {type: "function", function: {name}}, or {type: "function", name}. `tools` are emptied by none.
Check readToolChoice(const Fields& body, Json& tools, AnswerForm& form);
/// Some call must be made: of any tool (null), or of this one.
Check mustCall(const std::string* function, const Json& tools, const std::string& path, AnswerForm& form);

/// How the answer is written, and what it goes on from.
struct AnswerLayout {
  ToolFormat tools = ToolFormat::kNone;
  bool reasoning = false;                  // may come first
  bool starts_in_reasoning = false;        // the prompt ends inside of it
};

/// The grammar of the whole answer; none where every text is an answer. `tools`: those offered, as ChatInput has them.
/// Arguments of tools that are not strict are as their schema says where it can be had, else any object.
Outcome<std::optional<Grammar>> answerGrammar(const AnswerForm& form, const Json& tools, const AnswerLayout& layout);

/// Holds the answers to the grammar, if there is one: each has a constraint of its own. Errors: a model without tokenizer or end;
/// fields that want more text than the form has.
Check constrain(std::vector<CompletionRequest>& requests, const std::optional<Grammar>& grammar, const AnswerForm& form, const ModelInfo& model);

}  // namespace exo::serve
