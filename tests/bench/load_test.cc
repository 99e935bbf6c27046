// Clients of a load, against a server that answers what a test tells it to.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "bench/load/crowd.h"
#include "bench/load/fetch.h"
#include "bench/load/script.h"
#include "bench/load/siege.h"
#include "executor/serve/http/server.h"

namespace exo::load {
namespace {

namespace http = serve::http;
using std::chrono::milliseconds;
using End = VisitOutcome::End;
using Kind = Visit::Kind;

const AnswerScript kScript{.model = "m", .prompt_tokens = 8, .answer_tokens = 6, .pause = Seconds(0.001)};

bool alike(const Client& a, const Client& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Visit& x, const Visit& y) {
    return x.kind == y.kind && x.pause == y.pause && x.bytes == y.bytes && x.wants_tokens == y.wants_tokens && x.leave_after_pieces == y.leave_after_pieces && x.reset == y.reset;
  });
}

TEST(LoadScript, IsDecidedByItsSeed) {
  EXPECT_TRUE(alike(answering(kScript, 5, 1, 20), answering(kScript, 5, 1, 20)));
  EXPECT_TRUE(alike(aborting(kScript, 5, 1, 20), aborting(kScript, 5, 1, 20)));
  EXPECT_TRUE(alike(malformed(kScript, 5, 1, 60), malformed(kScript, 5, 1, 60)));
  EXPECT_FALSE(alike(answering(kScript, 5, 1, 20), answering(kScript, 6, 1, 20)));
  EXPECT_FALSE(alike(answering(kScript, 5, 1, 20), answering(kScript, 5, 2, 20)));
  // A longer load begins as a shorter one.
  Client longer = answering(kScript, 5, 1, 30);
  longer.resize(20);
  EXPECT_TRUE(alike(longer, answering(kScript, 5, 1, 20)));
}

TEST(LoadScript, DrawsWhatItSays) {
  const AnswerScript script{.model = "m", .prompt_tokens = 10, .answer_tokens = 40, .pause = Seconds(2)};
  const Client visits = answering(script, 1, 0, 2000);
  double pause = 0, tokens = 0;
  std::set<std::string> requests;
  for (const Visit& visit : visits) {
    EXPECT_GE(visit.wants_tokens, 20);
    EXPECT_LE(visit.wants_tokens, 60);
    pause += visit.pause.count();
    tokens += static_cast<double>(visit.wants_tokens);
    requests.insert(visit.bytes);
  }
  EXPECT_EQ(requests.size(), visits.size());
  EXPECT_NEAR(pause / 2000, 2, 0.2);      // standard error 0.045
  EXPECT_NEAR(tokens / 2000, 40, 1.5);    // standard error 0.26
}

TEST(LoadTarget, IsAnAddressAndAPort) {
  EXPECT_EQ(parseTarget("http://127.0.0.1:80/")->port, 80);
  EXPECT_EQ(parseTarget("http://[::1]:52415")->host, "::1");
  for (const char* wrong : {"", "127.0.0.1:80", "http://host", "http://:80", "http://host:", "http://host:0", "http://host:x", "http://host:80/path", "https://host:80"}) EXPECT_FALSE(parseTarget(wrong).ok()) << wrong;
}

/// Answers completions with `pieces` events and then as `end` says; /v1/models and /health as a server does.
class Stub final : public http::Handler {
 public:
  enum class Finish { kOrderly, kBreaks, kSilent };
  int pieces = 6, tokens = 6;
  std::string piece = "x";
  Finish finish = Finish::kOrderly;
  std::atomic<int> asked = 0, gone = 0;

  std::optional<http::Response> admit(const http::Request&) override { return std::nullopt; }
  void handle(http::Request request, std::shared_ptr<http::Exchange> exchange) override {
    if (request.path == "/health") return exchange->respond(http::textResponse(200, "{}"));
    if (request.path == "/v1/models") return exchange->respond(http::textResponse(200, R"({"data":[{"id":"served"}]})"));
    if (request.path != "/v1/completions") return exchange->respond(refusal(request, 404, "nothing there"));
    ++asked;
    exchange->onGone([this] { ++gone; });
    exchange->begin({200, {{"Content-Type", "text/event-stream"}}, ""}, milliseconds(1000), [] { return ": quiet\n\n"; });
    exchange->write("data: {\"choices\":[{\"text\":\"\"}]}\n\n");   // no piece
    for (int i = 0; i < pieces; ++i) exchange->write("data: {\"choices\":[{\"text\":\"" + piece + "\"}]}\n\n");
    if (finish == Finish::kBreaks) return;   // let go: an end that is none
    if (finish == Finish::kSilent) return keep(std::move(exchange));
    exchange->write("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":" + std::to_string(tokens) + "}}\n\ndata: [DONE]\n\n");
    exchange->finish();
  }
  http::Response refusal(const http::Request&, int status, const std::string& message) override { return http::textResponse(status, message); }

 private:
  void keep(std::shared_ptr<http::Exchange> exchange) {
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(exchange));
  }
  std::mutex mutex_;
  std::vector<std::shared_ptr<http::Exchange>> kept_;
};

struct Crowd : ::testing::Test {
  Stub stub;
  std::unique_ptr<http::Server> server;
  Target target;

  Crowd() {
    auto started = http::Server::start({}, stub);
    EXPECT_TRUE(started.ok());
    server = std::move(*started);
    target.port = server->port();
  }

  std::vector<VisitOutcome> visit(const Client& client, Seconds patience = Seconds(20)) {
    auto outcomes = load::run(target, {client}, patience);
    EXPECT_TRUE(outcomes.ok());
    return outcomes->front();
  }
  bool within(const std::function<bool()>& done) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(2));
    return done();
  }
};

TEST_F(Crowd, ReadsAnswersToTheirEnd) {
  for (const VisitOutcome& o : visit(answering(kScript, 1, 0, 5))) {
    EXPECT_EQ(o.end, End::kWhole);
    EXPECT_EQ(o.status, 200);
    EXPECT_EQ(o.pieces_s.size(), 6u);
    EXPECT_EQ(o.tokens, 6);
    EXPECT_TRUE(std::is_sorted(o.pieces_s.begin(), o.pieces_s.end()));
    EXPECT_GE(o.end_s, o.pieces_s.back());
  }
  EXPECT_EQ(stub.asked, 5);
}

TEST_F(Crowd, ManyClientsAtOnceGetTheirOwnOutcomes) {
  std::vector<Client> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(answering(kScript, 1, i, 3));
  const auto outcomes = load::run(target, clients, Seconds(20), {watching(Seconds(0.001))});
  ASSERT_EQ(outcomes->size(), 41u);
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ((*outcomes)[static_cast<size_t>(i)].size(), 3u);
    for (size_t k = 0; k < 3; ++k) EXPECT_EQ((*outcomes)[static_cast<size_t>(i)][k].wanted_tokens, clients[static_cast<size_t>(i)][k].wants_tokens);
  }
  ASSERT_FALSE(outcomes->back().empty());
  for (const VisitOutcome& o : outcomes->back()) EXPECT_EQ(o.status, 200);
}

TEST_F(Crowd, ToldFromOneAnotherAreEnds) {
  stub.finish = Stub::Finish::kBreaks;
  EXPECT_EQ(visit(answering(kScript, 1, 0, 1))[0].end, End::kBroken);
  stub.finish = Stub::Finish::kSilent;
  EXPECT_EQ(visit(answering(kScript, 1, 0, 1), Seconds(0.2))[0].end, End::kTimedOut);
  server.reset();   // nobody listens
  EXPECT_EQ(visit(answering(kScript, 1, 0, 1))[0].end, End::kBroken);
}

TEST_F(Crowd, LeavesWhenItShould) {
  stub.finish = Stub::Finish::kSilent;
  for (const bool reset : {false, true}) {
    Visit early = answering(kScript, 1, 0, 1)[0], late = early;
    for (Visit* each : {&early, &late}) each->kind = Kind::kAbort, each->reset = reset;
    early.leave_after_pieces = -1;
    late.leave_after_pieces = 4;
    const int gone = stub.gone;
    const auto outcomes = visit({early, late});
    EXPECT_EQ(outcomes[0].end, End::kLeft);
    EXPECT_EQ(outcomes[1].end, End::kLeft);
    EXPECT_EQ(outcomes[1].pieces_s.size(), 4u);
    EXPECT_TRUE(within([&] { return stub.gone == gone + 1; }));   // who left in the middle of the request was never handled
  }
}

TEST_F(Crowd, LeavesAtOnce) {
  stub.finish = Stub::Finish::kSilent;
  Visit at_once = answering(kScript, 1, 0, 1)[0];
  at_once.kind = Kind::kAbort;
  const auto outcomes = visit({at_once});
  EXPECT_EQ(outcomes[0].end, End::kLeft);
  EXPECT_EQ(outcomes[0].status, 0);
}

TEST_F(Crowd, SlowReadersGetAllOfIt) {
  stub.pieces = 300;
  stub.piece = std::string(2000, 'x');
  const auto outcomes = visit(slow(kScript, Seconds(0.3), 1, 0, 1));
  EXPECT_EQ(outcomes[0].end, End::kWhole);
  EXPECT_EQ(outcomes[0].pieces_s.size(), 300u);
  EXPECT_GE(outcomes[0].pieces_s.back(), 0.3);
}

TEST_F(Crowd, FetchesJsonAndSaysWhatIsWrong) {
  EXPECT_EQ(*modelOf(target), "served");
  EXPECT_NE(fetch(target, "/nowhere").error().message().find("404"), std::string::npos);
  server.reset();
  EXPECT_EQ(fetch(target, "/health").error().code(), ErrorCode::kPeerLost);
}

}  // namespace
}  // namespace exo::load
