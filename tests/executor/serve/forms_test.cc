// Answers of a given form, from the dialects through the real engine: a model with made-up weights, which knows nothing of JSON, at
// temperature 1. Whatever it says parses and is valid, for every seed.
#include <gtest/gtest.h>

#include <future>
#include <regex>

#include "executor/serve/dialects/anthropic.h"
#include "executor/serve/dialects/ollama.h"
#include "executor/serve/dialects/openai_chat.h"
#include "executor/serve/dialects/responses.h"
#include "executor/serve/serving_engine.h"
#include "tests/executor/serve/scripted_engine.h"
#include "tests/executor/serve/test_ranks.h"

namespace exo::serve {
namespace {

constexpr int64_t kVocabulary = 512, kContext = 1024;
constexpr int kSeeds = 24;

/// What is wrong with the value, empty if nothing: the words of JSON Schema that the schemas below have.
std::string mismatch(const Json& value, const Json& schema, const Json& document) {
  if (schema.contains("$ref")) return mismatch(value, document.at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1))), document);
  if (schema.contains("anyOf")) {
    const auto fits = [&](const Json& way) { return mismatch(value, way, document).empty(); };
    return std::any_of(schema["anyOf"].begin(), schema["anyOf"].end(), fits) ? "" : "fits none: " + value.dump();
  }
  if (schema.contains("enum")) return std::count(schema["enum"].begin(), schema["enum"].end(), value) > 0 ? "" : "not of the enum: " + value.dump();
  const std::string type = schema.at("type");
  const bool right = (type == "object" && value.is_object()) || (type == "array" && value.is_array()) || (type == "string" && value.is_string()) ||
                     (type == "integer" && value.is_number_integer()) || (type == "boolean" && value.is_boolean()) || (type == "null" && value.is_null());
  if (!right) return value.dump() + " is no " + type;
  if (type == "integer" && (value < schema.value("minimum", Json(INT64_MIN)) || value > schema.value("maximum", Json(INT64_MAX)))) return "out of range: " + value.dump();
  if (schema.contains("pattern") && !std::regex_search(value.get<std::string>(), std::regex(schema["pattern"].get<std::string>()))) return "does not match: " + value.dump();
  if (schema.contains("maxLength")) {
    const std::string& text = value.get_ref<const std::string&>();
    const auto characters = std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
    if (characters > schema["maxLength"]) return "too long: " + value.dump();
  }
  if (type == "array") {
    if (value.size() < schema.value("minItems", size_t{0}) || value.size() > schema.value("maxItems", size_t{1000})) return "too many or few: " + value.dump();
    for (const Json& item : value) {
      if (const std::string wrong = mismatch(item, schema["items"], document); !wrong.empty()) return wrong;
    }
  }
  if (type != "object") return "";
  for (const Json& name : schema["required"]) {
    if (!value.contains(name.get<std::string>())) return "lacks " + name.dump();
  }
  for (const auto& [name, inner] : value.items()) {
    if (!schema["properties"].contains(name)) return "has " + name;
    if (const std::string wrong = mismatch(inner, schema["properties"][name], document); !wrong.empty()) return wrong;
  }
  return "";
}

struct Heard {
  AnswerPart part;
  CompletionEnd end;
};

/// What becomes of an answer, put together as every dialect does.
class Listener final : public CompletionSink {
 public:
  explicit Listener(AnswerParserOptions options) : parser_(std::move(options)) {}
  void chunk(CompletionChunk chunk) override { heard_.part.append(parser_.push(std::move(chunk))); }
  void end(CompletionEnd end) override {
    heard_.part.append(parser_.finish());
    heard_.end = std::move(end);
    whole_.set_value(std::move(heard_));
  }
  std::future<Heard> whole() { return whole_.get_future(); }

 private:
  AnswerParser parser_;
  Heard heard_;
  std::promise<Heard> whole_;
};

using Read = Outcome<Job> (*)(const Json&, const ModelInfo&, ReplyIdentity);

class Forms : public ::testing::TestWithParam<int> {
 protected:
  Forms() : plan_(testing::randomPlan({.ranks = GetParam(), .vocabulary = kVocabulary, .context = kContext}, folder_)), ranks_(plan_), engine_(served(), runtime::stepLimits(plan_.programs(0))) {
    running_ = std::thread([this] { EXPECT_TRUE(engine_.run(ranks_.driver()).ok()); });
  }
  ~Forms() override {
    engine_.drain();
    running_.join();
    engine_.finish(std::nullopt);
  }
  static ModelInfo served() {
    ModelInfo model = testing::testModel(testing::kToolTemplate);
    model.vocab_size = kVocabulary;   // more than the tokenizer has, as models do
    model.context_length = kContext;
    return model;
  }
  std::string id(const char* token) const { return std::to_string(*engine_.model().tokenizer->tokenToId(token)); }

  /// What ends things: a model that knows nothing else would go on until its context ends.
  std::string towardsTheEnd() const { return R"("logit_bias": {")" + id("\"") + R"(": 9, ")" + id("}") + R"(": 9, ")" + id("]") + R"(": 9})"; }

  /// The answers to one request with many seeds, all at once.
  std::vector<Heard> answers(const std::string& fields, Read read = readChatCompletion) {
    std::vector<std::future<Heard>> waiting;
    while (engine_.state() != EngineState::kServing) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (int seed = 0; seed < kSeeds; ++seed) {
      Json body = Json::parse(R"({"model": "org/test-model", "max_tokens": 600, "input": "Hi", "messages": [{"role": "user", "content": "Hi"}], "temperature": 1})");
      body.update(Json::parse("{" + fields + "}"));
      auto job = read(body, engine_.model(), {"id", "org/test-model", 0});
      EXPECT_TRUE(job.ok()) << (job.ok() ? "" : job.error().message);
      if (!job.ok()) return {};
      job->requests.at(0).sampling.seed = static_cast<uint64_t>(seed);   // not every dialect has a field for it
      const auto listener = std::make_shared<Listener>(job->parser);
      waiting.push_back(listener->whole());
      const auto taken = engine_.submit(std::move(job->requests.at(0)), listener);
      const auto* refusal = std::get_if<Refusal>(&taken);
      EXPECT_EQ(refusal, nullptr) << refusal->message;
      if (refusal) return {};
    }
    std::vector<Heard> all;
    for (auto& one : waiting) all.push_back(one.get());
    return all;
  }

  void expectValid(const std::vector<Heard>& all, const std::string& schema) {
    const Json document = Json::parse(schema);
    for (const Heard& heard : all) {
      EXPECT_EQ(heard.end.reason, FinishReason::kStop) << (heard.end.error ? heard.end.error->message() : heard.part.reasoning + "|" + heard.part.content);
      const Json value = Json::parse(heard.part.content, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << heard.part.content;
      EXPECT_EQ(mismatch(value, document, document), "") << heard.part.content;
    }
  }

  testing::Folder folder_;
  plan::Plan plan_;
  testing::Ranks ranks_;
  ServingEngine engine_;
  std::thread running_;
};

const std::string kPerson = R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
  "zip": {"type": "string", "pattern": "^[0-9]{5}$"}, "tags": {"type": "array", "items": {"enum": ["a", "bé", 3, null]}, "minItems": 1, "maxItems": 3}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
  "required": ["name", "age", "next"], "additionalProperties": false})";

TEST_P(Forms, SchemasInEveryDialect) {
  expectValid(answers(R"("reasoning_effort": "none", "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": )" + kPerson + "}}"), kPerson);
  expectValid(answers(R"("reasoning": {"effort": "none"}, "text": {"format": {"type": "json_schema", "name": "person", "schema": )" + kPerson + "}}", readResponse), kPerson);
  expectValid(answers(R"("thinking": {"type": "disabled"}, "output_config": {"format": {"type": "json_schema", "schema": )" + kPerson + "}}", readAnthropicMessage), kPerson);
  expectValid(answers(R"("think": false, "options": {"temperature": 1, "top_k": 64, "top_p": 1}, "format": )" + kPerson, readOllamaChat), kPerson);
}

TEST_P(Forms, AnyObject) {
  for (const Heard& heard : answers(R"("reasoning_effort": "none", "response_format": {"type": "json_object"}, )" + towardsTheEnd())) {
    EXPECT_EQ(heard.end.reason, FinishReason::kStop) << heard.part.content;
    EXPECT_TRUE(Json::parse(heard.part.content, nullptr, false).is_object()) << heard.part.content;
  }
}

TEST_P(Forms, ReasoningStaysApart) {
  const std::string bias = R"("logit_bias": {")" + id("<think>") + R"(": 20, ")" + id("</think>") + R"(": 20})";
  const auto all = answers(bias + R"(, "response_format": {"type": "json_schema", "json_schema": {"schema": )" + kPerson + "}}");
  int64_t reasoned = 0;
  for (const Heard& heard : all) reasoned += heard.part.reasoning_tokens > 0 ? 1 : 0;
  EXPECT_GT(reasoned, kSeeds / 2);
  expectValid(all, kPerson);
}

TEST_P(Forms, Calls) {
  const std::string tools = R"("tools": [{"type": "function", "function": {"name": "first", "parameters": )" + kPerson + R"(}}, {"type": "function", "function": {"name": "second", "parameters": )" + kPerson + "}}]";
  const Json schema = Json::parse(kPerson);
  for (const char* choice : {R"("required")", R"({"type": "function", "function": {"name": "second"}})"}) {
    for (const Heard& heard : answers(tools + R"(, "reasoning_effort": "none", "parallel_tool_calls": false, )" + towardsTheEnd() + R"(, "tool_choice": )" + choice)) {
      EXPECT_EQ(heard.end.reason, FinishReason::kStop) << heard.part.content;
      ASSERT_EQ(heard.part.tool_calls.size(), 1u) << heard.part.content;
      EXPECT_EQ(heard.part.content, "");
      const ToolCall& call = heard.part.tool_calls[0];
      EXPECT_TRUE(call.name == "second" || (call.name == "first" && choice[0] == '"')) << call.name;
      EXPECT_EQ(mismatch(Json::parse(call.arguments), schema, schema), "") << call.arguments;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Forms, ::testing::Values(1, 2));

}  // namespace
}  // namespace exo::serve
