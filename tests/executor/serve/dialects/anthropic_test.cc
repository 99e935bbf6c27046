#include "executor/serve/dialects/anthropic.h"

#include <gtest/gtest.h>

#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

const ModelInfo& model() {
  static const ModelInfo model = testing::testModel(testing::kToolTemplate);
  return model;
}
const ReplyIdentity kIdentity{"msg_1", "org/test-model", 1700000000};

Json message(const std::string& more = "{}") {
  Json body = {{"model", "org/test-model"}, {"max_tokens", 50}, {"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})}};
  body.update(Json::parse(more));
  return body;
}

Outcome<Job> read(const std::string& more) { return readAnthropicMessage(message(more), model(), kIdentity); }

std::string promptOf(const std::string& more) {
  const auto job = read(more);
  EXPECT_TRUE(job.ok()) << (job.ok() ? "" : job.error().message);
  return job.ok() ? model().tokenizer->decode(job->requests.at(0).prompt, tokenizer::SkipSpecial::kNo) : "";
}

TEST(Anthropic, FieldsArrive) {
  const auto job = read(R"({"temperature": 0.5, "top_p": 0.25, "top_k": 4, "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "service_tier": "auto", "unheard_of": true})");
  ASSERT_TRUE(job.ok());
  const CompletionRequest& request = job->requests.at(0);
  EXPECT_EQ(request.max_tokens, 50);
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_p, 0.25f);
  EXPECT_EQ(request.sampling.top_k, 4);
  EXPECT_EQ(request.stop_strings, std::vector<std::string>{"x"});
}

TEST(Anthropic, TurnsOfOneRoleAreOne) {
  EXPECT_EQ(promptOf(R"({"system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}]})"),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Anthropic, TheBillingLineIsNoPartOfThePrompt) {
  const std::string with = R"({"system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1234"}, {"type": "text", "text": "S"}]})";
  EXPECT_EQ(promptOf(with), promptOf(R"({"system": "S"})"));
}

TEST(Anthropic, ToolsGoRound) {
  const std::string prompt = promptOf(R"({"tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "messages": [{"role": "user", "content": "Hi"},
      {"role": "assistant", "content": [{"type": "text", "text": "See"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}]},
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42"}]}, {"type": "text", "text": "So?"}]}]})");
  EXPECT_NE(prompt.find("See<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>"), std::string::npos) << prompt;
  EXPECT_NE(prompt.find("<|im_start|>tool\n42<|im_end|>\n<|im_start|>user\nSo?<|im_end|>"), std::string::npos) << prompt;
}

TEST(Anthropic, RefusesByName) {
  struct Refused {
    const char *fields, *param;
  };
  for (const Refused& r : std::initializer_list<Refused>{
           {R"({"max_tokens": null})", "max_tokens"}, {R"({"max_tokens": 0})", "max_tokens"}, {R"({"temperature": 1.5})", "temperature"}, {R"({"messages": []})", "messages"},
           {R"({"messages": [{"role": "system", "content": "x"}]})", "messages[0].role"}, {R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})", "messages[0].content[0].type"},
           {R"({"tool_choice": {"type": "any"}})", "tool_choice"}, {R"({"tool_choice": {"type": "odd"}})", "tool_choice.type"}, {R"({"tools": [{"type": "web_search_20250305", "name": "s"}]})", "tools[0].type"},
           {R"({"tools": [{"name": "s"}]})", "tools[0].input_schema"}, {R"({"thinking": {"type": "enabled"}})", "thinking.budget_tokens"}, {R"({"output_config": {"format": {}}})", "output_config.format.type"}}) {
    const auto job = read(r.fields);
    ASSERT_FALSE(job.ok()) << r.fields;
    EXPECT_EQ(job.error().param, r.param) << job.error().message;
  }
  EXPECT_EQ(Json::parse(errorBody(Dialect::kAnthropic, {ApiError::Kind::kModelNotFound, "no", ""}, "req_1")),
            Json::parse(R"({"type":"error","error":{"type":"not_found_error","message":"no"},"request_id":"req_1"})"));
}

Answer answerOf(AnswerPart part, FinishReason reason) {
  Answer answer;
  answer.part = std::move(part);
  answer.prompt = {10, 4, 10};
  answer.end.reason = reason;
  answer.end.stop_string = reason == FinishReason::kStopString ? "END" : "";
  answer.end.usage = {10, 4, 3};
  return answer;
}

TEST(Anthropic, WholeAnswer) {
  const auto job = read("{}");
  Json json = Json::parse(job->reply->whole({answerOf({.reasoning = "why", .content = "so", .tool_calls = {{"f", R"({"x":1})"}}}, FinishReason::kStopString)}));
  json["content"][2].erase("id");
  EXPECT_EQ(json, Json::parse(R"({"id":"msg_1","type":"message","role":"assistant","model":"org/test-model",
    "content":[{"type":"thinking","thinking":"why","signature":""},{"type":"text","text":"so"},{"type":"tool_use","name":"f","input":{"x":1}}],
    "stop_reason":"stop_sequence","stop_sequence":"END","usage":{"input_tokens":6,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":3}})"));
}

TEST(Anthropic, StreamedBlocksNeverOverlap) {
  const auto job = read(R"({"stream": true})");
  Reply& reply = *job->reply;
  const Answer answer = answerOf({.tool_calls = {{"f", "{}"}}}, FinishReason::kStop);
  std::string stream;
  // A list's elements are made in their order; the operands of + need not be.
  for (const std::string& text : {reply.begin({answer}), reply.part(0, {.reasoning = "wh"}), reply.part(0, {.reasoning = "y"}), reply.part(0, {.content = "so"}), reply.part(0, answer.part),
                                  reply.answerEnd(0, answer), reply.end({answer})})
    stream += text;
  std::string order;
  for (size_t begin = 0; begin < stream.size();) {
    const size_t line = stream.find('\n', begin), end = stream.find("\n\n", begin);
    const Json json = Json::parse(stream.substr(line + 7, end - line - 7));
    EXPECT_EQ("event: " + json["type"].get<std::string>(), stream.substr(begin, line - begin));
    order += json["type"].get<std::string>() + (json.contains("index") ? " " + json["index"].dump() : "") + (json.contains("delta") ? " " + json["delta"].value("type", "") : "") + "\n";
    begin = end + 2;
  }
  EXPECT_EQ(order,
            "message_start\ncontent_block_start 0\ncontent_block_delta 0 thinking_delta\ncontent_block_delta 0 thinking_delta\ncontent_block_delta 0 signature_delta\ncontent_block_stop 0\n"
            "content_block_start 1\ncontent_block_delta 1 text_delta\ncontent_block_stop 1\n"
            "content_block_start 2\ncontent_block_delta 2 input_json_delta\ncontent_block_stop 2\nmessage_delta \nmessage_stop\n");
  EXPECT_NE(stream.find(R"("usage":{"input_tokens":6,)"), std::string::npos);
  EXPECT_NE(stream.find(R"("stop_reason":"tool_use")"), std::string::npos);
}

TEST(Anthropic, CountsWhatIsUsed) {
  Json body = message();
  const auto job = readAnthropicMessage(body, model(), kIdentity);
  body.erase("max_tokens");
  EXPECT_EQ((*countAnthropicTokens(body, model()))["input_tokens"], job->requests.at(0).prompt.size());
}

}  // namespace
}  // namespace exo::serve
