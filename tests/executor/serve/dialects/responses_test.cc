#include "executor/serve/dialects/responses.h"

#include <gtest/gtest.h>

#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

const ModelInfo& model() {
  static const ModelInfo model = testing::testModel(testing::kToolTemplate);
  return model;
}

Outcome<Job> read(const std::string& more) {
  Json body = Json::parse(R"({"model": "org/test-model", "input": "Hi"})");
  body.update(Json::parse(more));
  return readResponse(body, model(), {"resp_1", "org/test-model", 1700000000});
}

std::string promptOf(const std::string& more) {
  const auto job = read(more);
  EXPECT_TRUE(job.ok()) << (job.ok() ? "" : job.error().message);
  return job.ok() ? model().tokenizer->decode(job->requests.at(0).prompt, tokenizer::SkipSpecial::kNo) : "";
}

TEST(Responses, InputBecomesThePrompt) {
  EXPECT_EQ(promptOf(R"({"instructions": "S"})"), "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const std::string prompt = promptOf(R"({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false}], "store": false, "include": ["reasoning.encrypted_content"],
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}, {"type": "reasoning", "summary": [], "encrypted_content": "?"},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "See"}]}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"x\": 1}"},
      {"type": "function_call_output", "call_id": "c", "output": "42"}]})");
  EXPECT_NE(prompt.find("See<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call><|im_end|>\n<|im_start|>tool\n42"), std::string::npos) << prompt;
}

TEST(Responses, RefusesByName) {
  struct Refused {
    const char *fields, *param;
  };
  for (const Refused& r : std::initializer_list<Refused>{
           {R"({"input": null})", "input"}, {R"({"input": []})", "input"}, {R"({"input": [{"type": "item_reference", "id": "x"}]})", "input[0]"}, {R"({"previous_response_id": "resp_0"})", "previous_response_id"},
           {R"({"truncation": "auto"})", "truncation"}, {R"({"background": true})", "background"}, {R"({"tool_choice": "required"})", "tool_choice"},
           {R"({"tools": [{"type": "web_search"}]})", "tools[0].type"}, {R"({"max_output_tokens": 0})", "max_output_tokens"}, {R"({"input": [{"role": "user", "content": [{"type": "input_image"}]}]})", "input[0].content[0].type"}}) {
    const auto job = read(r.fields);
    ASSERT_FALSE(job.ok()) << r.fields;
    EXPECT_EQ(job.error().param, r.param) << job.error().message;
  }
}

Answer answerOf(AnswerPart part, FinishReason reason) {
  Answer answer;
  answer.part = std::move(part);
  answer.end.reason = reason;
  answer.end.usage = {10, 4, 3};
  return answer;
}

TEST(Responses, WholeAnswer) {
  const auto job = read(R"({"max_output_tokens": 3})");
  const Json json = Json::parse(job->reply->whole({answerOf({.reasoning = "why", .content = "so", .tool_calls = {{"f", "{}"}}}, FinishReason::kLength)}));
  EXPECT_EQ(json["status"], "incomplete");
  EXPECT_EQ(json["incomplete_details"], Json::parse(R"({"reason":"max_output_tokens"})"));
  ASSERT_EQ(json["output"].size(), 3u);
  EXPECT_EQ(json["output"][0]["content"], Json::parse(R"([{"type":"reasoning_text","text":"why"}])"));
  EXPECT_EQ(json["output"][1]["content"], Json::parse(R"([{"type":"output_text","text":"so","annotations":[],"logprobs":[]}])"));
  EXPECT_EQ(json["output"][2]["arguments"], "{}");
  EXPECT_EQ(json["max_output_tokens"], 3);
  EXPECT_EQ(json["usage"]["total_tokens"], 13);
}

TEST(Responses, StreamedEvents) {
  const auto job = read(R"({"stream": true})");
  Reply& reply = *job->reply;
  const Answer answer = answerOf({.reasoning = "why", .content = "so", .tool_calls = {{"f", "{}"}}}, FinishReason::kStop);
  std::string stream;
  for (const std::string& text : {reply.begin({answer}), reply.part(0, answer.part), reply.answerEnd(0, answer)}) stream += text;   // in this order
  std::string order;
  int64_t number = 0;
  Json last;
  for (size_t begin = 0; begin < stream.size();) {
    const size_t line = stream.find('\n', begin), end = stream.find("\n\n", begin);
    last = Json::parse(stream.substr(line + 7, end - line - 7));
    EXPECT_EQ("event: " + last["type"].get<std::string>(), stream.substr(begin, line - begin));
    EXPECT_EQ(last["sequence_number"], number++);
    order += last["type"].get<std::string>().substr(9) + (last.contains("output_index") ? " " + last["output_index"].dump() : "") + "\n";
    begin = end + 2;
  }
  EXPECT_EQ(order,
            "created\nin_progress\n"
            "output_item.added 0\ncontent_part.added 0\nreasoning_text.delta 0\nreasoning_text.done 0\ncontent_part.done 0\noutput_item.done 0\n"
            "output_item.added 1\ncontent_part.added 1\noutput_text.delta 1\noutput_text.done 1\ncontent_part.done 1\noutput_item.done 1\n"
            "output_item.added 2\nfunction_call_arguments.delta 2\nfunction_call_arguments.done 2\noutput_item.done 2\ncompleted\n");
  EXPECT_EQ(last["response"]["output"].size(), 3u);
  EXPECT_EQ(last["response"]["status"], "completed");
}

}  // namespace
}  // namespace exo::serve
