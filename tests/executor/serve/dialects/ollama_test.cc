#include "executor/serve/dialects/ollama.h"

#include <gtest/gtest.h>

#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

const ModelInfo& model() {
  static const ModelInfo model = testing::testModel(testing::kToolTemplate);
  return model;
}
const ReplyIdentity kIdentity{"ollama-1", "org/test-model", 1700000000};

Json chat(const std::string& more = "{}") {
  Json body = {{"model", "org/test-model:latest"}, {"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})}};
  body.update(Json::parse(more));
  return body;
}
Json generate(const std::string& more) {
  Json body = {{"model", "org/test-model"}, {"prompt", "Hi"}};
  body.update(Json::parse(more));
  return body;
}
std::string textOf(const Outcome<Job>& job) {
  EXPECT_TRUE(job.ok()) << (job.ok() ? "" : job.error().message);
  return job.ok() ? model().tokenizer->decode(job->requests.at(0).prompt, tokenizer::SkipSpecial::kNo) : "";
}

TEST(Ollama, DefaultsAndOptions) {
  const auto plain = readOllamaChat(chat(), model(), kIdentity);
  ASSERT_TRUE(plain.ok());
  EXPECT_TRUE(plain->stream);
  EXPECT_EQ(plain->requests.at(0).sampling.temperature, 0.8f);
  EXPECT_EQ(plain->requests.at(0).sampling.top_k, 40);
  const auto set = readOllamaChat(chat(R"({"stream": false, "options": {"temperature": 0, "top_k": 3, "num_predict": 9, "seed": 7, "stop": ["x"], "repeat_penalty": 1.5, "repeat_last_n": -1,
    "num_gpu": 1, "unheard_of": []}, "keep_alive": "5m"})"), model(), kIdentity);
  ASSERT_TRUE(set.ok()) << set.error().message;
  const CompletionRequest& request = set->requests.at(0);
  EXPECT_FALSE(set->stream);
  EXPECT_EQ(request.sampling.temperature, 0);
  EXPECT_EQ(request.sampling.top_k, 3);
  EXPECT_EQ(request.sampling.seed, 7u);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(request.max_tokens, 9);
  EXPECT_EQ(request.stop_strings, std::vector<std::string>{"x"});
}

TEST(Ollama, NumPredictAndNumCtx) {
  const auto max = [](const char* options) { return readOllamaChat(chat(std::string(R"({"options": )") + options + "}"), model(), kIdentity)->requests.at(0).max_tokens; };
  EXPECT_EQ(max(R"({"num_predict": -1})"), std::nullopt);
  EXPECT_EQ(max(R"({"num_predict": -2})"), std::nullopt);
  const auto prompt = static_cast<int64_t>(readOllamaChat(chat(), model(), kIdentity)->requests.at(0).prompt.size());
  EXPECT_EQ(max(R"({"num_ctx": 100})"), 100 - prompt);
  EXPECT_EQ(max(R"({"num_ctx": 100, "num_predict": 5})"), 5);
  EXPECT_EQ(readOllamaChat(chat(R"({"options": {"num_ctx": 2}})"), model(), kIdentity).error().kind, ApiError::Kind::kContextLength);
}

TEST(Ollama, Prompts) {
  EXPECT_EQ(textOf(readOllamaGenerate(generate(R"({"raw": true})"), model(), kIdentity)), "Hi");
  EXPECT_EQ(textOf(readOllamaGenerate(generate(R"({"system": "S", "think": false})"), model(), kIdentity)),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
  const std::string prompt = textOf(readOllamaChat(chat(R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
    {"role": "tool", "tool_name": "f", "content": "42"}]})"), model(), kIdentity));
  EXPECT_NE(prompt.find("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>"), std::string::npos) << prompt;
}

TEST(Ollama, Refuses) {
  for (const char* more : {R"({"model": "llama3"})", R"({"keep_alive": "soon"})", R"({"keep_alive": 0})", R"({"options": {"temperature": "hot"}})",
                           R"({"options": {"num_gpu": "all"}})", R"({"options": {"mirostat": 1}})", R"({"options": {"repeat_penalty": 1.1, "repeat_last_n": 64}})", R"({"truncate": true})", R"({"think": "much"})",
                           R"({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]})", R"({"messages": [{"role": "king", "content": "x"}]})"})
    EXPECT_FALSE(readOllamaChat(chat(more), model(), kIdentity).ok()) << more;
  for (const char* more : {R"({"suffix": "x"})", R"({"context": [1]})", R"({"template": "x"})", R"({"raw": true, "system": "S"})"})
    EXPECT_FALSE(readOllamaGenerate(generate(more), model(), kIdentity).ok()) << more;
}

TEST(Ollama, KeepAlive) {
  EXPECT_EQ(*parseKeepAlive("5m"), 300);
  EXPECT_EQ(*parseKeepAlive("1h30m"), 5400);
  EXPECT_EQ(*parseKeepAlive("-1m"), -60);
  EXPECT_EQ(*parseKeepAlive("0"), 0);
  EXPECT_EQ(*parseKeepAlive("250ms"), 0.25);
  EXPECT_EQ(*parseKeepAlive(-1), -1);
  for (const Json& bad : {Json(""), Json("5"), Json("m"), Json("5x"), Json("-"), Json(true), Json("5m3"), Json("1e5s"), Json("nanh")}) EXPECT_FALSE(parseKeepAlive(bad).ok()) << bad;
}

TEST(Ollama, AskingForNothingLoads) {
  const auto load = ollamaLoadOnly(Json::parse(R"({"model": "org/test-model"})"), model());
  ASSERT_TRUE(load.ok() && load->has_value());
  EXPECT_EQ((**load)["done_reason"], "load");
  EXPECT_FALSE(ollamaLoadOnly(chat(), model())->has_value());
  EXPECT_FALSE(ollamaLoadOnly(Json::parse(R"({"model": "org/test-model", "prompt": "", "keep_alive": 0})"), model()).ok());
}

TEST(Ollama, Answers) {
  const auto job = readOllamaChat(chat(), model(), kIdentity);
  Answer answer;
  answer.part = {.reasoning = "why", .content = "so", .tool_calls = {{"f", R"({"x":1})"}}};
  answer.end = {.reason = FinishReason::kLength, .usage = {10, 4, 3}, .timings = {std::chrono::nanoseconds(1), std::chrono::nanoseconds(20), std::chrono::nanoseconds(300)}};
  Json whole = Json::parse(job->reply->whole({answer}));
  EXPECT_EQ(whole["created_at"].get<std::string>().size(), std::string("2026-01-02T03:04:05.123456789Z").size());
  whole.erase("created_at");
  EXPECT_EQ(whole, Json::parse(R"({"model":"org/test-model","message":{"role":"assistant","content":"so","thinking":"why","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},
    "done":true,"done_reason":"length","total_duration":321,"load_duration":1,"prompt_eval_count":10,"prompt_eval_duration":20,"eval_count":3,"eval_duration":300})"));
  const std::string line = job->reply->part(0, {.content = "a\nb"});
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(Json::parse(line)["done"], false);
  EXPECT_EQ(Json::parse(job->reply->keepAlive())["message"]["content"], "");
  EXPECT_EQ(errorBody(Dialect::kOllama, {ApiError::Kind::kFailed, "no", ""}, ""), R"({"error":"no"})");
}

TEST(Ollama, ShowsTheModel) {
  EXPECT_EQ(ollamaTags(model(), 0)["models"][0]["capabilities"], Json::parse(R"(["completion","tools","thinking"])"));
  EXPECT_EQ((*ollamaShow(Json::parse(R"({"name": "org/test-model"})"), model()))["model_info"]["unknown.context_length"], 1000);
  EXPECT_FALSE(ollamaPull(Json::parse(R"({"model": "other"})"), model()).ok());
}

}  // namespace
}  // namespace exo::serve
