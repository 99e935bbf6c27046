// Any bytes as the body of any request: an error that can be told, or a request in whose answer every piece is JSON.
#include <cstddef>
#include <cstdint>

#include "executor/serve/dialects/anthropic.h"
#include "executor/serve/dialects/ollama.h"
#include "executor/serve/dialects/openai_chat.h"
#include "executor/serve/dialects/openai_completions.h"
#include "executor/serve/dialects/responses.h"
#include "executor/serve/dialects/tokenize.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

void check(const ApiError& error) {
  for (const Dialect dialect : {Dialect::kOpenAi, Dialect::kAnthropic, Dialect::kOllama})
    EXO_CHECK(Json::accept(errorBody(dialect, error, "req_1"))) << error.message;
}

void check(Job job, const ModelInfo& model) {
  for (const CompletionRequest& request : job.requests) {
    EXO_CHECK(!request.prompt.empty());
    for (const int32_t id : request.prompt) EXO_CHECK(id >= 0 && id < model.vocab_size);
    if (!request.constraint) continue;
    std::vector<uint32_t> allowed((static_cast<size_t>(model.vocab_size) + 31) / 32);
    request.constraint->allowed(allowed);
  }
  std::vector<Answer> answers(job.requests.size());
  for (Answer& answer : answers) answer.part.content = "text";
  EXO_CHECK(Json::accept(job.reply->whole(answers)));
}

}  // namespace
}  // namespace exo::serve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo::serve;
  static const ModelInfo model = exo::serve::testing::testModel(exo::serve::testing::kToolTemplate);
  using ReadJob = Outcome<Job> (*)(const Json&, const ModelInfo&, ReplyIdentity);
  static constexpr ReadJob kReaders[] = {readChatCompletion, readCompletion, readResponse, readAnthropicMessage, readOllamaChat, readOllamaGenerate};
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto body = parseBody(text);
  if (!body.ok()) {
    check(body.error());
    return 0;
  }
  for (const ReadJob read : kReaders) {
    auto job = read(*body, model, {"id", model.name, 0});
    job.ok() ? check(std::move(*job), model) : check(job.error());
  }
  using Answering = Outcome<Json> (*)(const Json&, const ModelInfo&);
  for (const Answering answer : {Answering(tokenize), Answering(detokenize), Answering(countAnthropicTokens), Answering(ollamaShow)}) {
    const auto answered = answer(*body, model);
    if (!answered.ok()) check(answered.error());
  }
  return 0;
}
