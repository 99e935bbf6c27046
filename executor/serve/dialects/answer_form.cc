#include "executor/serve/dialects/answer_form.h"

#include <algorithm>

#include "executor/serve/answer_marks.h"
#include "executor/serve/grammar/constraint.h"
#include "executor/serve/grammar/regex.h"

namespace exo::serve {
namespace {

using json::space;

ApiError asRefusal(const Error& error, const std::string& field) { return {ApiError::Kind::kInvalid, error.message(), field}; }

Check setContent(AnswerForm& form, AnswerForm::Content content, Json value, const std::string& field) {
  if (form.asksForContent()) return refuse(field, "the answer has one form; ", form.field, " asks for another");
  form.content = content;
  form.value = std::move(value);
  form.field = field;
  return std::monostate{};
}

/// Writes the parts of one answer.
class AnswerWriter {
 public:
  AnswerWriter(const AnswerForm& form, const Json& tools, const AnswerLayout& layout) : form_(form), tools_(tools), layout_(layout) {}

  Outcome<Grammar> write() {
    EXO_ASSIGN(const Expr rest, afterReasoning());
    return std::move(json_).finish(withReasoning(rest));
  }

 private:
  Outcome<Expr> afterReasoning() {
    if (tools_.empty()) return content();
    EXO_ASSIGN(const Expr calls, this->calls());
    if (form_.must_call) return calls;
    if (form_.asksForContent()) {
      EXO_ASSIGN(const Expr content, this->content());
      return choice({content, calls});
    }
    return choice({freeText(), sequence({textBeforeCalls(), calls})});
  }

  Outcome<Expr> content() {
    switch (form_.content) {
      case AnswerForm::Content::kObject: return json_.anyObject();
      case AnswerForm::Content::kText:   // asked for neither content nor calls: never comes here
      case AnswerForm::Content::kSchema: break;
      case AnswerForm::Content::kRegex: {
        auto text = regexExpression("^(?:" + form_.value.get<std::string>() + ")$");
        if (!text.ok()) return refuse(form_.field, text.error().message());
        return *std::move(text);
      }
      case AnswerForm::Content::kChoices: {
        std::vector<Expr> ways;
        for (const Json& text : form_.value) ways.push_back(literal(text.get<std::string>()));
        return choice(std::move(ways));
      }
    }
    auto value = json_.schema(form_.value, form_.field);
    if (!value.ok()) return asRefusal(value.error(), form_.field);
    return *std::move(value);
  }

  const char* mark() const { return toolMark(layout_.tools); }

  /// Every text in which the parser finds no call.
  Expr freeText() { return textWithout(json_.rules(), mark(), layout_.tools == ToolFormat::kLlama ? ByteSet().set('{') : ByteSet()); }

  /// Before the first mark, which calls() begins with. A Llama's call is the whole answer.
  Expr textBeforeCalls() { return layout_.tools == ToolFormat::kLlama ? sequence({}) : textWithout(json_.rules(), mark()); }

  Outcome<Expr> calls() {
    std::vector<Expr> ways;
    size_t index = 0;
    for (const Json& tool : tools_) {
      const std::string path = "tools[" + std::to_string(index++) + "].function";
      const std::string& name = tool.at("function").at("name").get_ref<const std::string&>();
      if (!form_.function.empty() && name != form_.function) continue;
      EXO_ASSIGN(const Expr arguments, this->arguments(tool.at("function"), name, path));
      ways.push_back(call(name, arguments));
    }
    const Expr one = choice(std::move(ways));
    return inARow(one, form_.parallel && form_.function.empty() ? kUnbounded : 1);
  }

  Outcome<Expr> arguments(const Json& function, const std::string& name, const std::string& path) {
    auto schema = json_.schema(function.at("parameters"), path + ".parameters");
    if (schema.ok()) return *std::move(schema);
    const bool strict = std::find(form_.strict.begin(), form_.strict.end(), name) != form_.strict.end();
    if (strict) return asRefusal(schema.error(), path + ".parameters");
    return json_.anyObject();
  }

  Expr call(const std::string& name, const Expr& arguments) const {
    if (layout_.tools == ToolFormat::kMistralArguments) return sequence({literal(name), literal(marks::kMistralArgs), arguments});
    const char* key = layout_.tools == ToolFormat::kLlama ? "\"parameters\"" : "\"arguments\"";
    return json::object({{json::pair(literal("\"name\""), literal(Json(name).dump())), true}, {json::pair(literal(key), arguments), true}}, nullptr);
  }

  /// At least one, at most `max`.
  Expr inARow(const Expr& one, uint32_t max) const {
    const uint32_t more = max == kUnbounded ? kUnbounded : max - 1;
    switch (layout_.tools) {
      case ToolFormat::kNone: break;   // refused where tools are read
      case ToolFormat::kHermes: {
        const Expr marked = sequence({literal(marks::kToolCall), space(), one, space(), literal(marks::kEndToolCall)});
        return sequence({marked, repeat(sequence({space(), marked}), 0, more)});
      }
      case ToolFormat::kMistral: return sequence({literal(marks::kMistralCalls), space(), json::array({}, one, 1, max)});
      case ToolFormat::kMistralArguments: {
        const Expr marked = sequence({literal(marks::kMistralCalls), one});
        return sequence({marked, repeat(marked, 0, more)});
      }
      case ToolFormat::kLlama: return sequence({optional(literal(marks::kPythonTag)), one, repeat(sequence({literal(";"), space(), one}), 0, more)});
    }
    return one;
  }

  /// After the end mark models leave a line or two.
  Expr withReasoning(const Expr& rest) {
    if (!layout_.reasoning) return rest;
    const Expr layout_space = repeat(byteOf(ByteSet().set(' ').set('\t').set('\r').set('\n')), 0, 8);
    const Expr reasoned = sequence({textThrough(json_.rules(), marks::kEndThink), layout_space, rest});
    if (layout_.starts_in_reasoning) return reasoned;
    return choice({sequence({literal(marks::kThink), reasoned}), rest});
  }

  const AnswerForm& form_;
  const Json& tools_;
  const AnswerLayout& layout_;
  JsonGrammar json_;
};

/// Unused where no grammar could say more than "any text".
bool isFree(const AnswerForm& form, const Json& tools) {
  const bool held_calls = !tools.empty() && (form.must_call || !form.parallel || !form.strict.empty());
  return !form.asksForContent() && !held_calls;
}

}  // namespace

Check readJsonFormat(const Json* given, const std::string& path, const char* schema_in, AnswerForm& form) {
  if (!given) return std::monostate{};
  EXO_ASSIGN(const Fields format, Fields::of(*given, path));
  EXO_ASSIGN(const std::string type, format.neededText("type"));
  if (type == "text") return std::monostate{};
  if (type != "json_object" && type != "json_schema") return refuse(format.pathOf("type"), "expected text, json_object or json_schema, got \"", type, "\"");
  const bool inside = type == "json_schema" && schema_in != nullptr;
  EXO_ASSIGN(const Json* around, inside ? format.object(schema_in) : Outcome<const Json*>(given));
  if (!around) return refuse(format.pathOf(schema_in), "is missing");
  const Fields fields(*around, inside ? format.pathOf(schema_in) : path);
  EXO_TRY(fields.flag("strict"));   // the form is kept either way
  EXO_ASSIGN(const Json* schema, fields.object("schema"));
  if (schema) return setContent(form, AnswerForm::Content::kSchema, *schema, fields.pathOf("schema"));
  if (type == "json_schema") return refuse(fields.pathOf("schema"), "is missing; expected an object");
  return setContent(form, AnswerForm::Content::kObject, nullptr, path);
}

Check readGuided(const Fields& body, AnswerForm& form) {
  EXO_TRY(body.refuseUnless("guided_grammar", {}, "this server takes JSON schemas, regular expressions and choices"));
  if (const Json* schema = body.find("guided_json")) {
    const Json parsed = schema->is_string() ? Json::parse(schema->get<std::string>(), nullptr, false) : *schema;
    if (!parsed.is_object()) return refuse("guided_json", "expected a JSON schema, got ", describe(*schema));
    EXO_TRY(setContent(form, AnswerForm::Content::kSchema, parsed, "guided_json"));
  }
  EXO_ASSIGN(const auto regex, body.text("guided_regex"));
  if (regex) EXO_TRY(setContent(form, AnswerForm::Content::kRegex, *regex, "guided_regex"));
  EXO_ASSIGN(const Json* choices, body.array("guided_choice"));
  if (!choices) return std::monostate{};
  const bool texts = std::all_of(choices->begin(), choices->end(), [](const Json& text) { return text.is_string() && !text.get_ref<const std::string&>().empty(); });
  if (choices->empty() || !texts) return refuse("guided_choice", "expected at least one text, none of them empty");
  return setContent(form, AnswerForm::Content::kChoices, *choices, "guided_choice");
}

Check mustCall(const std::string* function, const Json& tools, const std::string& path, AnswerForm& form) {
  if (tools.empty()) return refuse(path, "a call must be made, and no tools are offered");
  const auto is_named = [&](const Json& tool) { return tool.at("function").at("name") == *function; };
  if (function && std::none_of(tools.begin(), tools.end(), is_named)) return refuse(path, "there is no tool \"", *function, "\"");
  form.must_call = true;
  form.function = function ? *function : "";
  return std::monostate{};
}

Check readToolChoice(const Fields& body, Json& tools, AnswerForm& form) {
  EXO_ASSIGN(const auto parallel, body.flag("parallel_tool_calls"));
  form.parallel = parallel.value_or(true);
  const Json* choice = body.find("tool_choice");
  if (!choice || *choice == "auto") return std::monostate{};
  if (*choice == "none") {
    tools = Json::array();
    return std::monostate{};
  }
  if (*choice == "required") return mustCall(nullptr, tools, "tool_choice", form);
  if (!choice->is_object()) return refuse("tool_choice", "expected none, auto, required or a function, got ", describe(*choice));
  const Fields fields(*choice, "tool_choice");
  EXO_ASSIGN(const std::string type, fields.neededText("type"));
  if (type != "function") return refuse("tool_choice.type", "expected function, got \"", type, "\"");
  EXO_ASSIGN(const Json* inner, fields.object("function"));
  EXO_ASSIGN(const std::string name, inner ? Fields(*inner, "tool_choice.function").neededText("name") : fields.neededText("name"));
  return mustCall(&name, tools, "tool_choice", form);
}

Outcome<std::optional<Grammar>> answerGrammar(const AnswerForm& form, const Json& tools, const AnswerLayout& layout) {
  if (isFree(form, tools)) return std::optional<Grammar>();
  EXO_ASSIGN(Grammar grammar, AnswerWriter(form, tools, layout).write());
  return std::optional(std::move(grammar));
}

Check constrain(std::vector<CompletionRequest>& requests, const std::optional<Grammar>& grammar, const AnswerForm& form, const ModelInfo& model) {
  if (!grammar) return std::monostate{};
  const std::string field = form.asksForContent() ? form.field : "tools";
  if (!model.tokenizer) return refuse(field, "\"", model.name, "\" has no tokenizer, so its answers cannot be held to a form");
  if (model.eos_ids.empty()) return refuse(field, "\"", model.name, "\" has no end-of-sequence token, so its answers cannot end where the form does");
  const SharedVocabulary shared = model.vocabulary;
  for (CompletionRequest& request : requests) {
    if (request.ignore_eos) return refuse("ignore_eos", "an answer of a given form ends where the form does");
    if (request.min_tokens > 0) return refuse("min_tokens", "an answer of a given form ends where the form does");
    auto constraint = GrammarConstraint::create(*grammar, shared.get());
    if (!constraint.ok()) return asRefusal(constraint.error(), field);
    request.constraint = std::move(*constraint);
    request.special_text = true;   // the text is what the grammar saw
  }
  return std::monostate{};
}

}  // namespace exo::serve
