// The real server and dialects over a scripted engine, for client programs: prints its URL, serves until its input ends. What
// the engine says depends on a word in the prompt.
#include <unistd.h>

#include <iostream>

#include "executor/serve/dialects/service.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

using testing::Script;
using std::chrono::milliseconds;

Script scriptFor(const std::string& prompt) {
  const auto says = [&](const char* word) { return prompt.find(word) != std::string::npos; };
  if (says("be busy")) return {.refusal = Refusal{Refusal::Reason::kQueueFull, "the queue is full", milliseconds(10)}};
  if (says("be too long")) return {.refusal = Refusal{Refusal::Reason::kPromptTooLong, "", milliseconds(0), 5000, 1000}};
  if (says("improvise")) return {.pieces = {"nothing was asked of this answer"}, .improvises = true};
  if (says("break")) return {.pieces = {"so ", "far"}, .every = milliseconds(5), .reason = FinishReason::kError, .error = makeError(ErrorCode::kPeerLost, ErrorScope::kJob, "node b is gone")};
  if (says("talk forever")) return {.pieces = {"bla "}, .endless = true, .every = milliseconds(5)};
  if (says("<|im_start|>tool\n")) return {.pieces = {"It is ", "21 degrees."}};
  if (says("weather")) return {.pieces = {"<tool_call>\n{\"name\": \"get_weather\", ", "\"arguments\": {\"city\": \"Paris\"}}\n", "</tool_call>"}};
  if (says("think")) return {.pieces = {"<think>", "\nhm", "m\n", "</think>", "\n\n", "Yes", "."}};
  return {.pieces = {"Hello", " there", ", ", "wörld", " 🙂", "."}, .every = milliseconds(2)};
}

int serveScripted() {
  testing::ScriptedEngine engine(testing::testModel(testing::kToolTemplate));
  engine.answerWith([&](const CompletionRequest& request) { return scriptFor(engine.model().tokenizer->decode(request.prompt, tokenizer::SkipSpecial::kNo)); });
  Service service(engine, {});
  const auto server = http::Server::start({}, service);
  if (!server.ok()) {
    std::cerr << server.error() << std::endl;
    return 1;
  }
  service.setServer(server->get());
  std::cout << "http://127.0.0.1:" << (*server)->port() << std::endl;
  for (char byte = 0; ::read(STDIN_FILENO, &byte, 1) > 0;) {}
  return 0;
}

}  // namespace
}  // namespace exo::serve

int main() { return exo::serve::serveScripted(); }
