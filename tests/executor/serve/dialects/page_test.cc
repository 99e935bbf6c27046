// The dashboard's files and what the cluster shows of itself, over loopback.
#include "executor/serve/dialects/page.h"

#include <gtest/gtest.h>

#include "executor/dashboard/dashboard.h"
#include "executor/serve/dialects/cluster_routes.h"
#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/service.h"
#include "tests/executor/serve/http/client.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

using std::chrono::milliseconds;
using testing::Client;
using testing::get;
using testing::post;

constexpr const char* kBrowser = "Accept: text/html,*/*\r\n";

struct PageTest : ::testing::Test {
  testing::ScriptedEngine engine{testing::testModel(testing::kPlainTemplate)};
  ClusterState state{{}, nullptr, engine.model(), "life", 1000};
  http::AccessRules access;
  std::unique_ptr<Service> service;
  std::unique_ptr<http::Server> server;

  uint16_t start() {
    service = std::make_unique<Service>(engine, access);
    service->mount(clusterRoutes(engine, state));
    auto started = http::Server::start({}, *service);
    EXPECT_TRUE(started.ok());
    server = std::move(*started);
    return server->port();
  }
  void publish(double time) { state.publish({.time = time, .engine = EngineState::kServing}); }
};

std::string headerOf(const Client::Response& answer, const std::string& name) {
  const size_t at = answer.head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 4;
  return answer.head.substr(begin, answer.head.find("\r\n", begin) - begin);
}

TEST_F(PageTest, BrowsersGetThePageAndOllamasClientsTheirWords) {
  Client client(start());
  const auto page = client.ask(get("/", kBrowser));
  EXPECT_EQ(page.status, 200);
  EXPECT_TRUE(page.body.starts_with("<!doctype html>")) << page.body;
  EXPECT_NE(headerOf(page, "Content-Security-Policy").find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(headerOf(page, "Vary"), "Accept-Encoding, Accept");
  for (const char* accept : {"", "Accept: */*\r\n"}) {
    const auto words = client.ask(get("/", accept));
    EXPECT_EQ(words.body, "Ollama is running");
    EXPECT_EQ(headerOf(words, "Vary"), "Accept");
  }
}

TEST_F(PageTest, FilesComeCompressedWithATagAndOnlyOnce) {
  Client client(start());
  for (const std::string& path : dashboard::paths()) {
    const auto file = client.ask(get(path, "Accept-Encoding: gzip, br\r\n"));
    EXPECT_EQ(file.status, 200) << path;
    EXPECT_EQ(headerOf(file, "Content-Encoding"), "br") << path;
    EXPECT_EQ(file.body.size(), dashboard::find(path, "br")->bytes.size()) << path;
    const std::string tag = headerOf(file, "ETag");
    ASSERT_GT(tag.size(), 10u);
    for (const std::string& known : {tag, "W/" + tag, "\"x\", " + tag + " ", std::string("*")}) {
      const auto again = client.ask(get(path, "Accept-Encoding: br\r\nIf-None-Match: " + known + "\r\n"));
      EXPECT_EQ(again.status, 304) << known;
      EXPECT_EQ(again.body, "");
      EXPECT_EQ(headerOf(again, "ETag"), tag);
      EXPECT_EQ(headerOf(again, "Content-Encoding"), "");
      EXPECT_EQ(headerOf(again, "Content-Length"), "");
    }
    // Another encoding is another version.
    EXPECT_EQ(client.ask(get(path, "Accept-Encoding: gzip\r\nIf-None-Match: " + tag + "\r\n")).status, 200);
  }
}

TEST_F(PageTest, HeadIsTheHeadOfGet) {
  const uint16_t port = start();
  for (const char* path : {"/", "/index.html", "/v1/cluster/state", "/v1/cluster/events"}) {
    Client client(port);
    for (int i = 0; i < 2; ++i) {   // the connection goes on
      client.send("HEAD " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
      const std::string head = client.readUntil("\r\n\r\n", milliseconds(5000));
      EXPECT_TRUE(head.starts_with("HTTP/1.1 200")) << path << head;
    }
  }
}

TEST_F(PageTest, ThePageNeedsNoKeyAndItsFiguresDo) {
  access.keys = {"the-secret-key"};
  Client client(start());
  EXPECT_EQ(client.ask(get("/", kBrowser)).status, 200);
  for (const std::string& path : dashboard::paths()) EXPECT_EQ(client.ask(get(path)).status, 200) << path;
  for (const char* path : {"/v1/cluster/state", "/v1/cluster/events", "/v1/cluster/series"}) EXPECT_EQ(client.ask(get(path)).status, 401) << path;
  EXPECT_EQ(client.ask(post("/v1/cluster/requests/1/cancel", "")).status, 401);
  EXPECT_EQ(client.ask(get("/v1/cluster/state", "Authorization: Bearer the-secret-key\r\n")).status, 200);
}

TEST_F(PageTest, NothingElseIsInThePagesFolder) {
  Client client(start());
  for (const char* path : {"/style.css", "/index.htm", "/../index.html", "/%2e%2e/index.html"}) EXPECT_EQ(client.ask(get(path)).status, 404) << path;
}

TEST_F(PageTest, TheStateIsThatOfTheLastPublication) {
  publish(1);
  Client client(start());
  EXPECT_EQ(Json::parse(client.ask(get("/v1/cluster/state")).body)["engine"]["state"], "serving");
  publish(2);
  const auto answer = client.ask(get("/v1/cluster/state"));
  EXPECT_EQ(Json::parse(answer.body)["sample"]["time"], 2);
  EXPECT_EQ(headerOf(answer, "Cache-Control"), "no-store");
}

TEST_F(PageTest, SeriesBeginWhereTheyAreAsked) {
  for (const double time : {1, 2, 3}) publish(time);
  Client client(start());
  const auto times = [&](const std::string& query) { return Json::parse(client.ask(get("/v1/cluster/series" + query)).body)["columns"]["time"]; };
  EXPECT_EQ(times(""), Json({2.0, 3.0}));
  EXPECT_EQ(times("?x=1&since=2"), Json({3.0}));
  for (const char* wrong : {"?since=", "?since=x", "?since=1x", "?since=inf", "?since=nan"}) EXPECT_EQ(client.ask(get(std::string("/v1/cluster/series") + wrong)).status, 400) << wrong;
}

std::string idOf(const std::string& event) { return event.substr(event.find("id: ") + 4, event.find('\n') - 4 - event.find("id: ")); }

TEST_F(PageTest, EventsCarryChangesAndGoOnWhereTheyEnded) {
  publish(1);
  const uint16_t port = start();
  Client client(port);
  client.send(get("/v1/cluster/events"));
  const std::string head = client.readUntil("\r\n\r\n");
  EXPECT_NE(head.find("Content-Type: text/event-stream"), std::string::npos) << head;
  client.readUntil("\r\n");   // the chunk's size
  const std::string first = client.readUntil("}\n\n");
  EXPECT_TRUE(first.starts_with("id: life-")) << first;
  EXPECT_NE(first.find("\"shards\""), std::string::npos);
  publish(2);
  client.readUntil("id: ");
  const std::string second = "id: " + client.readUntil("}\n\n");
  EXPECT_NE(second.find("\"sample\""), std::string::npos) << second;
  EXPECT_EQ(second.find("\"shards\""), std::string::npos);
  client.close();

  publish(3);
  Client again(port);
  again.send(get("/v1/cluster/events", "Last-Event-ID: " + idOf(second) + "\r\n"));
  again.readUntil("id: ");
  const std::string third = again.readUntil("}\n\n");
  EXPECT_NE(third.find("\"time\":3.0"), std::string::npos) << third;
  EXPECT_EQ(third.find("\"shards\""), std::string::npos);
}

TEST_F(PageTest, AStoppingEngineEndsTheEvents) {
  publish(1);
  Client client(start());
  client.send(get("/v1/cluster/events"));
  client.readUntil("}\n\n");
  state.publish({.time = 2, .engine = EngineState::kDraining});
  engine.setState(EngineState::kDraining);
  EXPECT_NE(client.readUntil("\r\n0\r\n\r\n").find("draining"), std::string::npos);
  server->drain(std::chrono::seconds(10));   // waits for nobody any more
  EXPECT_EQ(server->stats().open_connections, 0);
}

TEST_F(PageTest, ManyViewersComeAndGo) {
  publish(1);
  const uint16_t port = start();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<Client>> viewers;
    for (int i = 0; i < 20; ++i) viewers.push_back(std::make_unique<Client>(port));
    for (auto& viewer : viewers) viewer->send(get("/v1/cluster/events"));
    for (auto& viewer : viewers) EXPECT_NE(viewer->readUntil("}\n\n").find("life-"), std::string::npos);
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (server->stats().open_connections > 0 && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(server->stats().open_connections, 0);
}

TEST_F(PageTest, ARequestIsCancelled) {
  engine.answerWith([](const CompletionRequest&) { return testing::Script{.pieces = {"x"}, .endless = true, .every = milliseconds(1)}; });
  const uint16_t port = start();
  Client asking(port), cancelling(port);
  asking.send(post("/v1/chat/completions", R"({"model": "org/test-model", "messages": [{"role": "user", "content": "Hi"}]})"));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (engine.submitted().empty() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(1));
  const auto cancelled = cancelling.ask(post("/v1/cluster/requests/1/cancel", ""));
  EXPECT_EQ(cancelled.status, 204) << cancelled.body;
  EXPECT_TRUE(engine.waitForCancelled(1, std::chrono::seconds(10)));
  EXPECT_EQ(asking.readResponse().status, 503);
  EXPECT_EQ(cancelling.ask(post("/v1/cluster/requests/1/cancel", "")).status, 204);
  for (const char* wrong : {"x", "-1", "1.5", "99999999999999999999999", "1/2"}) EXPECT_EQ(cancelling.ask(post(std::string("/v1/cluster/requests/") + wrong + "/cancel", "")).status, 400) << wrong;
  EXPECT_EQ(cancelling.ask(get("/v1/cluster/requests/1/cancel")).status, 405);
}

}  // namespace
}  // namespace exo::serve
