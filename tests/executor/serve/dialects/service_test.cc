// The whole way over loopback: client, server, dialect, scripted engine.
#include "executor/serve/dialects/service.h"

#include <gtest/gtest.h>

#include "executor/serve/dialects/fields.h"
#include "tests/executor/serve/http/client.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

using std::chrono::milliseconds;
using testing::Client;
using testing::get;
using testing::post;
using testing::Script;

constexpr const char* kChat = "/v1/chat/completions";

std::string chat(const std::string& more = "") {
  return R"({"model": "org/test-model", "messages": [{"role": "user", "content": "Hi"}])" + (more.empty() ? "" : ", " + more) + "}";
}

struct ServiceTest : ::testing::Test {
  testing::ScriptedEngine engine{testing::testModel(testing::kPlainTemplate)};
  http::AccessRules access;
  std::unique_ptr<Service> service;
  std::unique_ptr<http::Server> server;

  ServiceTest() {
    engine.answerWith([](const CompletionRequest&) { return Script{{"Hel", "lo", " you"}}; });
  }
  uint16_t start(http::ServerOptions options = {}) {
    service = std::make_unique<Service>(engine, access);
    auto started = http::Server::start(options, *service);
    EXPECT_TRUE(started.ok());
    server = std::move(*started);
    service->setServer(server.get());
    return server->port();
  }
};

TEST_F(ServiceTest, AnswersWhole) {
  Client client(start());
  const auto answer = client.ask(post(kChat, chat()));
  EXPECT_EQ(answer.status, 200) << answer.body;
  const Json json = Json::parse(answer.body);
  EXPECT_EQ(json["choices"][0]["message"]["content"], "Hello you");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["completion_tokens"], 3);
  EXPECT_NE(answer.head.find("x-request-id: req_"), std::string::npos);
}

TEST_F(ServiceTest, AnswersInAStreamAndKeepsTheConnection) {
  Client client(start());
  for (int i = 0; i < 3; ++i) {
    const auto answer = client.ask(post(kChat, chat(R"("stream": true, "stop": " you")")));
    EXPECT_EQ(answer.status, 200);
    EXPECT_NE(answer.head.find("Content-Type: text/event-stream"), std::string::npos);
    EXPECT_NE(answer.body.find(R"("delta":{"content":"Hel"})"), std::string::npos) << answer.body;
    EXPECT_EQ(answer.body.find("you"), std::string::npos);
    EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n"));
  }
}

TEST_F(ServiceTest, ManyChoicesInterleave) {
  Client client(start());
  const Json json = Json::parse(client.ask(post(kChat, chat(R"("n": 4)"))).body);
  ASSERT_EQ(json["choices"].size(), 4u);
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);
  const auto stream = client.ask(post(kChat, chat(R"("n": 4, "stream": true)"))).body;
  EXPECT_NE(stream.find(R"("index":3,"delta":{"content":"Hel"})"), std::string::npos);
}

TEST_F(ServiceTest, ErrorsBeforeTheFirstTokenArePlainInStreamsToo) {
  Client client(start());
  engine.answerWith([](const CompletionRequest&) { return Script{.refusal = Refusal{Refusal::Reason::kQueueFull, "full", milliseconds(1500)}}; });
  const auto full = client.ask(post(kChat, chat(R"("stream": true)")));
  EXPECT_EQ(full.status, 429);
  EXPECT_NE(full.head.find("Retry-After: 2\r\n"), std::string::npos) << full.head;
  EXPECT_NE(full.head.find("retry-after-ms: 1500\r\n"), std::string::npos);
  engine.answerWith([](const CompletionRequest&) { return Script{.refusal = Refusal{Refusal::Reason::kPromptTooLong, "", milliseconds(0), 1234, 1000}}; });
  const auto too_long = client.ask(post(kChat, chat(R"("stream": true)")));
  EXPECT_EQ(too_long.status, 400);
  EXPECT_EQ(Json::parse(too_long.body)["error"]["code"], "context_length_exceeded");
  EXPECT_NE(too_long.body.find("1234"), std::string::npos);
  EXPECT_NE(too_long.body.find("1000"), std::string::npos);
  engine.answerWith([](const CompletionRequest&) { return Script{.reason = FinishReason::kError, .error = makeError(ErrorCode::kPeerLost, ErrorScope::kJob, "node b is gone")}; });
  const auto failed = client.ask(post(kChat, chat(R"("stream": true)")));
  EXPECT_EQ(failed.status, 500);
  EXPECT_NE(failed.head.find("x-should-retry: false"), std::string::npos);
}

TEST_F(ServiceTest, OneRefusalRefusesAll) {
  std::atomic<int> asked{0};
  engine.answerWith([&](const CompletionRequest&) {
    if (++asked == 2) return Script{.refusal = Refusal{Refusal::Reason::kQueueFull, "full", milliseconds(1000)}};
    return Script{.pieces = {"x"}, .endless = true, .every = milliseconds(1)};
  });
  Client client(start());
  EXPECT_EQ(client.ask(post(kChat, chat(R"("n": 2, "stream": true)"))).status, 429);
  EXPECT_TRUE(engine.waitForCancelled(1, std::chrono::seconds(10)));
}

TEST_F(ServiceTest, ErrorsInMidStreamAreEvents) {
  engine.answerWith([](const CompletionRequest&) {
    return Script{.pieces = {"so far"}, .reason = FinishReason::kError, .error = makeError(ErrorCode::kPeerLost, ErrorScope::kJob, "node b is gone")};
  });
  Client client(start());
  const auto answer = client.ask(post(kChat, chat(R"("stream": true)")));
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.body.find("so far"), std::string::npos);
  EXPECT_NE(answer.body.find(R"(data: {"error":{"message":"node b is gone","type":"server_error")"), std::string::npos) << answer.body;
}

TEST_F(ServiceTest, ClientsThatLeaveCancel) {
  engine.answerWith([](const CompletionRequest&) { return Script{.pieces = {"x"}, .endless = true, .every = milliseconds(1)}; });
  const uint16_t port = start();
  uint64_t cancelled = 0;
  for (const char* more : {R"("stream": true)", R"("stream": false)", R"("stream": true, "n": 2)"}) {
    Client client(port);
    client.send(post(kChat, chat(more)));
    if (std::string(more).find("true") != std::string::npos) client.readUntil("\"x\"");
    else std::this_thread::sleep_for(milliseconds(50));
    client.close();
    cancelled += std::string(more).find("\"n\"") != std::string::npos ? 2 : 1;
    EXPECT_TRUE(engine.waitForCancelled(cancelled, std::chrono::seconds(10))) << more;
  }
}

TEST_F(ServiceTest, ReadersThatAreTooSlowCancel) {
  engine.answerWith([](const CompletionRequest&) { return Script{.pieces = {std::string(2000, 'x')}, .endless = true}; });
  Client client(start({.max_unread_bytes = 200'000}), 4096);
  client.send(post(kChat, chat(R"("stream": true)")));
  EXPECT_TRUE(engine.waitForCancelled(1, std::chrono::seconds(30)));
}

TEST_F(ServiceTest, AsksForKeys) {
  access.keys = {"the-secret-key"};
  const uint16_t port = start();
  const auto status = [&](const std::string& path, const std::string& headers) { return Client(port).ask(get(path, headers)).status; };
  EXPECT_EQ(status("/v1/models", ""), 401);
  EXPECT_EQ(status("/v1/models", "Authorization: Bearer wrong\r\n"), 401);
  EXPECT_EQ(status("/v1/models", "Authorization: Bearer the-secret-key\r\n"), 200);
  EXPECT_EQ(status("/v1/models", "X-Api-Key: the-secret-key\r\n"), 200);
  EXPECT_EQ(status("/health", ""), 200);
  EXPECT_EQ(status("/metrics", ""), 401);
}

TEST_F(ServiceTest, KeepsPagesOfOthersOut) {
  access.origins = {"https://chat.example"};
  const uint16_t port = start();
  EXPECT_EQ(Client(port).ask(get("/v1/models", "Origin: https://evil.example\r\n")).status, 403);
  const auto allowed = Client(port).ask(get("/v1/models", "Origin: https://chat.example\r\n"));
  EXPECT_NE(allowed.head.find("Access-Control-Allow-Origin: https://chat.example\r\n"), std::string::npos);
  Client options(port);
  options.send("OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: https://chat.example\r\nAccess-Control-Request-Headers: x-own\r\n\r\n");
  const std::string head = options.readUntil("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("HTTP/1.1 204")) << head;
  EXPECT_NE(head.find("Access-Control-Allow-Headers: x-own\r\n"), std::string::npos);
  EXPECT_EQ(Client(port).ask("GET /v1/models HTTP/1.1\r\nHost: rebound.example\r\n\r\n").status, 403);
}

TEST_F(ServiceTest, ModelsAndTokens) {
  Client client(start());
  EXPECT_EQ(Json::parse(client.ask(get("/v1/models")).body)["data"][0]["id"], "org/test-model");
  EXPECT_EQ(Json::parse(client.ask(get("/v1/models/org/test-model")).body)["max_model_len"], 1000);
  EXPECT_EQ(client.ask(get("/v1/models/org%2Ftest-model")).status, 200);
  EXPECT_EQ(client.ask(get("/v1/models/other")).status, 404);
  const Json tokens = Json::parse(client.ask(post("/tokenize", R"({"content": "Hello <|im_end|>"})")).body);
  EXPECT_EQ(tokens["tokens"].back(), 502);
  EXPECT_EQ(Json::parse(client.ask(post("/detokenize", dump({{"tokens", tokens["tokens"]}}))).body)["content"], "Hello <|im_end|>");
  EXPECT_EQ(client.ask(post("/detokenize", R"({"tokens": [-1]})")).status, 400);
}

TEST_F(ServiceTest, OtherPathsAndMethods) {
  Client client(start());
  EXPECT_EQ(client.ask(get("/v2/none")).status, 404);
  const auto wrong = client.ask(get(kChat));
  EXPECT_EQ(wrong.status, 405);
  EXPECT_NE(wrong.head.find("Allow: POST\r\n"), std::string::npos);
  EXPECT_EQ(client.ask(post("/v1/embeddings", R"({"model": "org/test-model", "input": "x"})")).status, 400);
  const auto broken = client.ask(post(kChat, "{\"model\": \"\xff\"}"));
  EXPECT_EQ(broken.status, 400);
  EXPECT_EQ(Json::parse(broken.body)["error"]["type"], "invalid_request_error");
}

TEST_F(ServiceTest, SaysHowItIs) {
  Client client(start());
  EXPECT_EQ(client.ask(get("/health")).status, 200);
  const std::string metrics = client.ask(get("/metrics")).body;
  EXPECT_NE(metrics.find("\nexo_peer_wait_seconds_total{rank=\"1\"} 0.25\n"), std::string::npos);
  EXPECT_NE(metrics.find("\nexo_engine_state{state=\"serving\"} 1\n"), std::string::npos);
  EXPECT_NE(metrics.find("\nexo_time_to_first_token_seconds_bucket{le=\"+Inf\"} 0\n"), std::string::npos);
  engine.setState(EngineState::kLoading);
  EXPECT_EQ(client.ask(get("/health")).status, 503);
  const auto loading = client.ask(post(kChat, chat()));
  EXPECT_EQ(loading.status, 503);
  EXPECT_NE(loading.head.find("Retry-After: 2\r\n"), std::string::npos);
}

}  // namespace
}  // namespace exo::serve
