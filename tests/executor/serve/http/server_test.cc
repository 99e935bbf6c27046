#include "executor/serve/http/server.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <atomic>
#include <mutex>

#include "tests/executor/serve/http/client.h"

namespace exo::serve::http {
namespace {

using serve::testing::Client;
using serve::testing::get;
using serve::testing::post;
using std::chrono::milliseconds;

/// Answers with what a test's function says.
class TestHandler final : public Handler {
 public:
  std::function<void(Request, std::shared_ptr<Exchange>)> run = [](Request request, std::shared_ptr<Exchange> exchange) {
    exchange->respond(textResponse(200, request.method + " " + request.path + " " + request.query + " " + request.body));
  };
  std::optional<Response> admit(const Request& head) override {
    if (head.path == "/forbidden") return textResponse(403, "no");
    return std::nullopt;
  }
  void handle(Request request, std::shared_ptr<Exchange> exchange) override { run(std::move(request), std::move(exchange)); }
  Response refusal(const Request&, int status, const std::string& message) override { return textResponse(status, message); }
};

struct ServerTest : ::testing::Test {
  TestHandler handler;
  ServerOptions options;
  std::unique_ptr<Server> server;

  uint16_t start() {
    auto started = Server::start(options, handler);
    EXPECT_TRUE(started.ok());
    server = std::move(*started);
    return server->port();
  }
  bool within(milliseconds patience, const std::function<bool()>& holds) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!holds() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(2));
    return holds();
  }
};

TEST_F(ServerTest, AnswersOneRequestAfterAnotherOnOneConnection) {
  Client client(start());
  EXPECT_EQ(client.ask(get("/a%20b?c=d")).body, "GET /a b c=d ");
  EXPECT_EQ(client.ask(post("/x", "body")).body, "POST /x  body");
  for (int i = 0; i < 200; ++i) ASSERT_EQ(client.ask(get("/again")).status, 200);
  EXPECT_EQ(server->stats().connections, 1u);
}

TEST_F(ServerTest, AnswersRequestsThatCameTogether) {
  Client client(start());
  client.send(get("/1") + post("/2", "b") + get("/3"));
  EXPECT_EQ(client.readResponse().body, "GET /1  ");
  EXPECT_EQ(client.readResponse().body, "POST /2  b");
  EXPECT_EQ(client.readResponse().body, "GET /3  ");
}

TEST_F(ServerTest, ReadsChunkedBodies) {
  Client client(start());
  EXPECT_EQ(client.ask("POST /c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").body, "POST /c  abcde");
}

TEST_F(ServerTest, TellsWaitingClientsToContinue) {
  Client client(start());
  client.send("POST /e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.readUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(client.ask("abc").body, "POST /e  abc");
}

TEST_F(ServerTest, RefusesBeforeTheBodyIsSent) {
  Client client(start());
  const auto refused = client.ask("POST /forbidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(refused.status, 403);
  EXPECT_NE(refused.head.find("Connection: close"), std::string::npos);
}

TEST_F(ServerTest, HeadHasNoBody) {
  Client client(start());
  client.send("HEAD /h HTTP/1.1\r\nHost: localhost\r\n\r\n" + get("/next"));
  EXPECT_NE(client.readUntil("\r\n\r\n").find("Content-Length: 9"), std::string::npos);
  EXPECT_EQ(client.readResponse().body, "GET /next  ");
}

TEST_F(ServerTest, OldClientsGetNoChunks) {
  handler.run = [](Request, std::shared_ptr<Exchange> exchange) {
    exchange->begin({200, {}, ""}, std::chrono::seconds(10), [] { return ""; });
    exchange->write("one ");
    exchange->write("two");
    exchange->finish();
  };
  Client client(start());
  client.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(client.readToEnd().ends_with("\r\n\r\none two"));
}

TEST_F(ServerTest, RefusesWhatIsNoHttp) {
  const uint16_t port = start();
  for (const char* text : {"hello\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    Client client(port);
    const auto answer = client.ask(text);
    EXPECT_EQ(answer.status, 400) << text << answer.head;
    client.readToEnd();
    EXPECT_TRUE(client.atEnd()) << text;
  }
}

TEST_F(ServerTest, BoundsHeadsAndBodies) {
  options.max_body_bytes = 1000;
  const uint16_t port = start();
  Client head(port), length(port), chunks(port);
  EXPECT_EQ(head.ask(get("/", "X: " + std::string(100'000, 'x') + "\r\n")).status, 431);
  EXPECT_EQ(length.ask(post("/", std::string(1001, 'x'))).status, 413);
  EXPECT_EQ(chunks.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') + "\r\n0\r\n\r\n").status, 413);
}

std::string gzipped(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(text.size() + 1000, 0);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST_F(ServerTest, DecodesBodiesAndBoundsWhatComesOut) {
  options.max_body_bytes = 1000;
  const uint16_t port = start();
  Client client(port), bomb(port), unknown(port), broken(port);
  EXPECT_EQ(client.ask(post("/", gzipped("hello"), "Content-Encoding: gzip\r\n")).body, "POST /  hello");
  EXPECT_EQ(bomb.ask(post("/", gzipped(std::string(100'000, 'a')), "Content-Encoding: gzip\r\n")).status, 413);
  EXPECT_EQ(unknown.ask(post("/", "x", "Content-Encoding: br\r\n")).status, 415);
  EXPECT_EQ(broken.ask(post("/", "x", "Content-Encoding: gzip\r\n")).status, 400);
}

TEST_F(ServerTest, GivesUpOnClientsThatSendTooSlowly) {
  options.head_timeout = milliseconds(100);
  options.body_timeout = milliseconds(100);
  const uint16_t port = start();
  Client silent(port), slow(port);
  slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(slow.readResponse().status, 408);
  silent.readToEnd();
  EXPECT_TRUE(silent.atEnd());
}

TEST_F(ServerTest, AnswersForHandlersThatForget) {
  handler.run = [](Request, std::shared_ptr<Exchange>) {};
  Client client(start());
  EXPECT_EQ(client.ask(get("/")).status, 500);
}

TEST_F(ServerTest, KeepsQuietStreamsAlive) {
  std::shared_ptr<Exchange> kept;
  handler.run = [&](Request, std::shared_ptr<Exchange> exchange) {
    exchange->begin({200, {{"Content-Type", "text/event-stream"}}, ""}, milliseconds(20), [] { return ": quiet\n\n"; });
    kept = std::move(exchange);
  };
  Client client(start());
  client.send(get("/"));
  client.readUntil(": quiet");
  client.readUntil(": quiet");
  kept->write("data");
  kept->finish();
  EXPECT_NE(client.readUntil("0\r\n\r\n").find("data"), std::string::npos);
  kept = nullptr;
  handler.run = TestHandler().run;
  EXPECT_EQ(client.ask(get("/next")).body, "GET /next  ");
  server.reset();   // its handlers use what lives here
}

TEST_F(ServerTest, NoticesClientsThatLeave) {
  std::atomic<int> gone{0};
  std::mutex mutex;
  std::vector<std::shared_ptr<Exchange>> kept;
  handler.run = [&](Request request, std::shared_ptr<Exchange> exchange) {
    exchange->onGone([&gone] { ++gone; });
    if (request.path == "/stream") exchange->begin({200, {}, ""}, std::chrono::seconds(10), [] { return ""; });
    const std::lock_guard lock(mutex);
    kept.push_back(std::move(exchange));
  };
  const uint16_t port = start();
  for (const char* path : {"/stream", "/plain"}) {
    Client client(port);
    client.send(get(path));
    std::this_thread::sleep_for(milliseconds(50));
    client.close();
  }
  EXPECT_TRUE(within(std::chrono::seconds(5), [&] { return gone == 2; }));
  EXPECT_EQ(server->stats().gone, 2u);
  server.reset();   // its handlers use what lives here
}

TEST_F(ServerTest, CutsOffStreamsThatNobodyReads) {
  options.max_unread_bytes = 100'000;
  std::atomic<bool> gone{false};
  std::atomic<int> written{0};
  handler.run = [&](Request, std::shared_ptr<Exchange> exchange) {
    exchange->onGone([&gone] { gone = true; });
    exchange->begin({200, {}, ""}, std::chrono::seconds(10), [] { return ""; });
    for (; !gone && written < 100'000; ++written) {
      exchange->write(std::string(1000, 'x'));
      if (written % 100 == 0) std::this_thread::sleep_for(milliseconds(1));
    }
  };
  Client client(start(), 4096);
  client.send(get("/"));
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] { return gone.load(); }));
  EXPECT_EQ(server->stats().overflowed, 1u);
  server.reset();   // its handlers use what lives here
}

TEST_F(ServerTest, ExchangesMayOutliveTheServer) {
  std::shared_ptr<Exchange> kept;
  handler.run = [&](Request, std::shared_ptr<Exchange> exchange) { kept = std::move(exchange); };
  Client client(start());
  client.send(get("/"));
  ASSERT_TRUE(within(std::chrono::seconds(5), [&] { return server->stats().requests == 1; }));
  server.reset();
  kept->respond(textResponse(200, "too late"));
  kept->finish();
}

TEST_F(ServerTest, DrainsWhatItHasBegun) {
  std::shared_ptr<Exchange> kept;
  std::atomic<bool> handled{false};
  handler.run = [&](Request, std::shared_ptr<Exchange> exchange) {
    kept = std::move(exchange);
    handled = true;
  };
  const uint16_t port = start();
  Client busy(port), idle(port);
  busy.send(get("/"));
  ASSERT_TRUE(within(std::chrono::seconds(5), [&] { return handled.load(); }));
  std::thread drain([&] { server->drain(std::chrono::seconds(10)); });
  idle.readToEnd();
  EXPECT_TRUE(idle.atEnd());
  kept->respond(textResponse(200, "done"));
  EXPECT_EQ(busy.readResponse().body, "done");
  busy.close();
  drain.join();
  Client late(port);
  EXPECT_FALSE(late.connected());
  server.reset();   // its handlers use what lives here
}

TEST_F(ServerTest, BoundsConnections) {
  options.max_connections = 2;
  const uint16_t port = start();
  Client first(port), second(port);
  EXPECT_EQ(first.ask(get("/")).status, 200);
  EXPECT_EQ(second.ask(get("/")).status, 200);
  Client third(port);
  EXPECT_EQ(third.readResponse().status, 503);
}

TEST_F(ServerTest, SaysWhyItCannotListen) {
  start();
  options.port = server->port();
  const auto second = Server::start(options, handler);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message().find("Address already in use"), std::string::npos) << second.error().message();
  options.host = "some.name";
  EXPECT_FALSE(Server::start(options, handler).ok());
}

}  // namespace
}  // namespace exo::serve::http
