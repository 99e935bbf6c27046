// What each dialect asks of an answer: which texts the request's constraint takes, token by token, and where it lets them end.
#include "executor/serve/dialects/answer_form.h"

#include <gtest/gtest.h>

#include "executor/serve/dialects/anthropic.h"
#include "executor/serve/dialects/ollama.h"
#include "executor/serve/dialects/openai_chat.h"
#include "executor/serve/dialects/openai_completions.h"
#include "executor/serve/dialects/responses.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

constexpr const char* kMistralTemplate = "{# [TOOL_CALLS] #}{% for m in messages %}{{ m.content }}{% endfor %}";
constexpr const char* kMistralArgumentsTemplate = "{# [TOOL_CALLS] [ARGS] #}{% for m in messages %}{{ m.content }}{% endfor %}";
constexpr const char* kLlamaTemplate = "{# <|python_tag|> #}{% for m in messages %}{{ m.content }}{% endfor %}";
constexpr const char* kThinkingTemplate = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n";

// "odd" has a word of JSON Schema that no grammar here honours.
const std::string kTools = R"("tools": [
  {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": false}}},
  {"type": "function", "function": {"name": "odd", "parameters": {"type": "object", "not": {}}}}])";
const std::string kStrictTool = R"("tools": [{"type": "function", "function": {"name": "add", "strict": true,
  "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": false}}}])";
const std::string kSchema = R"({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": false})";

using Read = Outcome<Job> (*)(const Json&, const ModelInfo&, ReplyIdentity);

struct Asked {
  ModelInfo model;
  Read read = readChatCompletion;
  Json body = Json::object();

  Asked(const char* chat_template, const std::string& fields, Read reader = readChatCompletion) : model(testing::testModel(chat_template)), read(reader) {
    body = Json::parse(R"({"model": "org/test-model", "max_tokens": 50, "prompt": "Hi", "input": "Hi", "messages": [{"role": "user", "content": "Hi"}]})");
    if (read != readCompletion && read != readOllamaGenerate) body.erase("prompt");
    body.update(Json::parse("{" + fields + "}"));
  }
  Outcome<Job> job() const { return read(body, model, {"id", model.name, 0}); }
  std::string refusedParam() const {
    const auto outcome = job();
    return outcome.ok() ? "" : outcome.error().param;
  }

  /// The answer may be this text and end there.
  bool takes(const std::string& text) const {
    const auto outcome = job();
    EXPECT_TRUE(outcome.ok()) << (outcome.ok() ? "" : outcome.error().message);
    if (!outcome.ok()) return false;
    TokenConstraint* constraint = outcome->requests.at(0).constraint.get();
    EXPECT_NE(constraint, nullptr);
    if (!constraint) return false;
    std::vector<uint32_t> mask((static_cast<size_t>(model.vocab_size) + 31) / 32);
    const auto allowed = [&](int32_t id) {
      constraint->allowed(mask);
      return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
    };
    const auto tokens = model.tokenizer->encode(text, tokenizer::Specials::kParse, tokenizer::AddSpecial::kNo);
    for (const int32_t id : *tokens) {
      if (!allowed(id)) return false;
      EXPECT_TRUE(constraint->accept(id).ok());
    }
    return allowed(model.eos_ids.at(0));
  }
};

void expectTexts(const Asked& asked, std::initializer_list<const char*> yes, std::initializer_list<const char*> no) {
  for (const char* text : yes) EXPECT_TRUE(asked.takes(text)) << asked.body << "\n" << text;
  for (const char* text : no) EXPECT_FALSE(asked.takes(text)) << asked.body << "\n" << text;
}

TEST(AnswerForm, TheSameSchemaInEveryDialect) {
  const std::string json_schema = R"("type": "json_schema", "name": "n", "schema": )" + kSchema;
  for (const Asked& asked : {Asked(testing::kPlainTemplate, R"("response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": )" + kSchema + "}}"),
                             Asked(testing::kPlainTemplate, R"("response_format": {"type": "json_object", "schema": )" + kSchema + "}"),
                             Asked(testing::kPlainTemplate, R"("guided_json": )" + kSchema), Asked(testing::kPlainTemplate, R"("guided_json": )" + kSchema, readCompletion),
                             Asked(testing::kPlainTemplate, R"("text": {"format": {)" + json_schema + "}}", readResponse),
                             Asked(testing::kPlainTemplate, R"("output_config": {"format": {)" + json_schema + "}}", readAnthropicMessage),
                             Asked(testing::kPlainTemplate, R"("output_format": {)" + json_schema + "}", readAnthropicMessage),
                             Asked(testing::kPlainTemplate, R"("format": )" + kSchema, readOllamaChat), Asked(testing::kPlainTemplate, R"("format": )" + kSchema, readOllamaGenerate),
                             Asked(testing::kPlainTemplate, R"("raw": true, "format": )" + kSchema, readOllamaGenerate)})
    expectTexts(asked, {R"({"a":1})", R"({"a": 2})"}, {"", "{}", R"({"a":3})", R"({"a":1}x)", "Hello", R"(<think></think>{"a":1})"});
}

TEST(AnswerForm, AnyObject) {
  for (const Asked& asked : {Asked(testing::kPlainTemplate, R"("response_format": {"type": "json_object"})"), Asked(testing::kPlainTemplate, R"("text": {"format": {"type": "json_object"}})", readResponse),
                             Asked(testing::kPlainTemplate, R"("format": "json")", readOllamaChat)})
    expectTexts(asked, {"{}", R"({"ä":[1,{"b":null}]})"}, {"", "[]", "{", "yes"});
}

TEST(AnswerForm, ExpressionsAndChoices) {
  expectTexts(Asked(testing::kPlainTemplate, R"("guided_regex": "[a-c]{2}|x")"), {"ab", "x"}, {"", "a", "abx", "abc"});
  expectTexts(Asked(testing::kPlainTemplate, R"("guided_choice": ["yes", "no"])", readCompletion), {"yes", "no"}, {"", "ye", "yesno"});
}

TEST(AnswerForm, ReasoningComesFirstWhereTheTemplateHasIt) {
  const std::string object = R"("response_format": {"type": "json_object"})";
  expectTexts(Asked(testing::kToolTemplate, object), {"{}", "<think>\nfirst </thi, <b>\n</think>\n\n{}"}, {"<think>{}", "</think>{}", "<think></think>", "<think></think>so {}", "<think></think><think></think>{}"});
  expectTexts(Asked(kThinkingTemplate, object), {"so\n</think>\n\n{}"}, {"{}", "<think></think>x", "so</think>x</think>{}"});
  expectTexts(Asked(testing::kToolTemplate, object + R"(, "reasoning_effort": "none")"), {"{}"}, {"<think></think>{}"});
}

TEST(AnswerForm, CallsThatMustBeMade) {
  const std::string required = kTools + R"(, "tool_choice": "required")";
  expectTexts(Asked(testing::kToolTemplate, required),
              {R"(<tool_call>{"name": "add", "arguments": {"x": 1}}</tool_call>)", "<tool_call>\n{\"name\": \"odd\", \"arguments\": {\"y\": []}}\n</tool_call>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\":-7}}\n</tool_call>",
               R"(<think>well</think><tool_call>{"name":"odd","arguments":{}}</tool_call>)"},
              {"", "Hello", R"(<tool_call>{"name": "add", "arguments": {"x": "1"}}</tool_call>)", R"(<tool_call>{"name": "other", "arguments": {}}</tool_call>)", R"(Let me: <tool_call>{"name":"odd","arguments":{}}</tool_call>)",
               R"({"name":"odd","arguments":{}})"});
  expectTexts(Asked(kMistralTemplate, required), {R"([TOOL_CALLS][{"name":"add","arguments":{"x":1}}, {"name":"odd","arguments":{}}])", R"([TOOL_CALLS] [{"name": "add", "arguments": {"x": 1}}])"}, {R"([TOOL_CALLS][])", "x"});
  expectTexts(Asked(kMistralArgumentsTemplate, required), {R"([TOOL_CALLS]add[ARGS]{"x":1})", R"([TOOL_CALLS]add[ARGS]{"x":1}[TOOL_CALLS]odd[ARGS]{})"}, {R"(add[ARGS]{"x":1})", R"([TOOL_CALLS]add{"x":1})"});
  expectTexts(Asked(kLlamaTemplate, required), {R"({"name": "add", "parameters": {"x": 1}})", R"(<|python_tag|>{"name":"odd","parameters":{}}; {"name":"odd","parameters":{}})"}, {R"({"name": "add", "arguments": {"x": 1}})", "x"});
}

TEST(AnswerForm, OneCallAndOfOneFunction) {
  const char *one = R"(<tool_call>{"name":"add","arguments":{"x":1}}</tool_call>)", *two = R"(<tool_call>{"name":"add","arguments":{"x":1}}</tool_call><tool_call>{"name":"add","arguments":{"x":1}}</tool_call>)",
             *other = R"(<tool_call>{"name":"odd","arguments":{}}</tool_call>)";
  expectTexts(Asked(testing::kToolTemplate, kTools + R"(, "tool_choice": {"type": "function", "function": {"name": "add"}})"), {one}, {two, other, "Hi"});
  expectTexts(Asked(testing::kToolTemplate, kTools + R"(, "tool_choice": {"type": "function", "name": "add"})", readResponse), {one}, {two, other, "Hi"});
  expectTexts(Asked(testing::kToolTemplate, kTools + R"(, "tool_choice": "required", "parallel_tool_calls": false)"), {one, other}, {two, "Hi"});
  expectTexts(Asked(testing::kToolTemplate, kTools + R"(, "parallel_tool_calls": false)"), {one, other, "Hi", "", "See: <tool_call>{\"name\":\"odd\",\"arguments\":{}}</tool_call>"}, {two});
  const std::string anthropic = R"("tools": [{"name": "add", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}, {"name": "odd", "input_schema": {"type": "object"}}], "tool_choice": )";
  expectTexts(Asked(testing::kToolTemplate, anthropic + R"({"type": "tool", "name": "add"})", readAnthropicMessage), {one}, {two, other, "Hi"});
  expectTexts(Asked(testing::kToolTemplate, anthropic + R"({"type": "any"})", readAnthropicMessage), {one, two, other}, {"Hi"});
  expectTexts(Asked(testing::kToolTemplate, anthropic + R"({"type": "any", "disable_parallel_tool_use": true})", readAnthropicMessage), {one, other}, {two, "Hi"});
}

TEST(AnswerForm, StrictArgumentsInAFreeAnswer) {
  const Asked hermes(testing::kToolTemplate, kStrictTool);
  expectTexts(hermes, {"", "a <tool and b", R"(See <tool_call>{"name":"add","arguments":{"x":1}}</tool_call>)", R"(<think><tool_call></think>x)"},
              {R"(<tool_call>{"name":"add","arguments":{"y":1}}</tool_call>)", "See <tool_call>", R"(<tool_call>{"name":"add","arguments":{"x":1}})"});
  expectTexts(Asked(kLlamaTemplate, kStrictTool), {"Hi {}", R"({"name":"add","parameters":{"x":1}})", R"(<|python_tag|>{"name":"add","parameters":{"x":1}})"}, {"{}", " {", R"(<|python_tag|>x)"});
}

TEST(AnswerForm, ContentOfAFormOrCalls) {
  expectTexts(Asked(testing::kToolTemplate, kTools + R"(, "response_format": {"type": "json_object"})"), {"{}", R"(<tool_call>{"name":"odd","arguments":{}}</tool_call>)"}, {"", "Hi"});
  expectTexts(Asked(testing::kToolTemplate, kTools + R"(, "tool_choice": "none", "response_format": {"type": "json_object"})"), {"{}"}, {R"(<tool_call>{"name":"odd","arguments":{}}</tool_call>)"});
}

TEST(AnswerForm, NothingAskedForIsFree) {
  for (const std::string& fields : {std::string(R"("response_format": {"type": "text"})"), kTools, kTools + R"(, "tool_choice": "auto", "parallel_tool_calls": true)", kStrictTool + R"(, "tool_choice": "none")"}) {
    const auto job = Asked(testing::kToolTemplate, fields).job();
    ASSERT_TRUE(job.ok()) << job.error().message;
    EXPECT_EQ(job->requests.at(0).constraint, nullptr) << fields;
  }
}

TEST(AnswerForm, EachAnswerHasAConstraintOfItsOwn) {
  const auto job = Asked(testing::kPlainTemplate, R"("n": 2, "response_format": {"type": "json_object"})").job();
  ASSERT_TRUE(job.ok());
  EXPECT_NE(job->requests.at(0).constraint, job->requests.at(1).constraint);
  EXPECT_TRUE(job->requests.at(0).special_text);
}

TEST(AnswerForm, RefusesByName) {
  struct Refused {
    std::string fields, param;
    Read read = readChatCompletion;
  };
  const std::string object = R"("response_format": {"type": "json_object"})";
  for (const Refused& r : std::initializer_list<Refused>{
           {R"("response_format": {"type": "hiccup"})", "response_format.type"}, {R"("response_format": "json")", "response_format"}, {R"("response_format": {"type": "json_schema"})", "response_format.json_schema"},
           {R"("response_format": {"type": "json_schema", "json_schema": {"name": "n"}})", "response_format.json_schema.schema"},
           {R"("response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "hiccup"}}})", "response_format.json_schema.schema"},
           {R"("response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": {"a": {"not": {}}}}}})", "response_format.json_schema.schema"},
           {R"("response_format": {"type": "json_schema", "json_schema": {"schema": {"anyOf": [{"$ref": "#"}]}}})", "response_format.json_schema.schema"},
           {object + R"(, "guided_regex": "a")", "guided_regex"}, {R"("guided_regex": "(")", "guided_regex"}, {R"("guided_choice": [])", "guided_choice"}, {R"("guided_choice": [""])", "guided_choice"},
           {R"("guided_grammar": "x")", "guided_grammar"}, {R"("guided_json": 3)", "guided_json"}, {object + R"(, "ignore_eos": true)", "ignore_eos"}, {object + R"(, "min_tokens": 3)", "min_tokens"},
           {object + R"(, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "{"}])", "messages"},
           {R"("tool_choice": "required")", "tool_choice"}, {R"("tool_choice": "maybe")", "tool_choice"}, {kTools + R"(, "tool_choice": {"type": "function", "function": {"name": "sub"}})", "tool_choice"},
           {kTools + R"(, "tool_choice": {"type": "allowed_tools"})", "tool_choice.type"},
           {R"("tools": [{"type": "function", "function": {"name": "odd", "strict": true, "parameters": {"not": {}}}}])", "tools[0].function.parameters"},
           {R"("text": {"format": {"type": "json_schema", "name": "n"}})", "text.format.schema", readResponse}, {R"("format": "yaml")", "format", readOllamaChat}, {R"("format": {"type": "hiccup"})", "format", readOllamaChat},
           {R"("tool_choice": {"type": "any"})", "tool_choice", readAnthropicMessage}, {R"("output_config": {"format": {"type": "json_schema"}})", "output_config.format.schema", readAnthropicMessage}})
    EXPECT_EQ(Asked(testing::kToolTemplate, r.fields, r.read).refusedParam(), r.param) << r.fields;
  Asked endless(testing::kPlainTemplate, object);
  endless.model.eos_ids.clear();
  EXPECT_EQ(endless.refusedParam(), "response_format");
}

}  // namespace
}  // namespace exo::serve
