// A server that is told to end while it answers: the answer is finished, new requests are told to come back, and everything ends in
// order; a second signal, or the time limit, ends it earlier.
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "tests/end_to_end/program.h"
#include "tests/executor/serve/http/client.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using serve::testing::Client;
using serve::testing::get;
using serve::testing::post;

constexpr const char* kConfig = R"({"model_type": "llama", "hidden_size": 192, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 3,
  "head_dim": 32, "vocab_size": 512, "hidden_act": "silu", "max_position_embeddings": 65536, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "float32"})";

class Drain : public ::testing::Test {
 protected:
  void start(const std::string& drain_timeout) {
    writeFile(folder_ / "config.json", kConfig);
    server_.emplace(exocWords({"serve", folder_.path(), "--nodes", "2", "--random_weights", "7", "--max_context", "60000", "--http", "127.0.0.1:0", "--drain_timeout", drain_timeout}));
    ASSERT_TRUE(server_->waitForOutput("http://127.0.0.1:", 60s) && server_->waitForOutput("\n", 5s)) << server_->err();
    port_ = static_cast<uint16_t>(std::atoi(server_->out().substr(server_->out().rfind(':') + 1).c_str()));
  }
  std::string request(int max_tokens) const {
    return R"({"model": ")" + folder_.path().filename().string() + R"(", "prompt": [1, 2, 3], "ignore_eos": true, "stream": true, "max_tokens": )" + std::to_string(max_tokens) + "}";
  }
  /// A stream of which the first tokens are there.
  std::unique_ptr<Client> streaming(int max_tokens) {
    auto client = std::make_unique<Client>(port_);
    EXPECT_TRUE(client->send(post("/v1/completions", request(max_tokens))));
    const std::string head = client->readUntil("\"choices\"", 30s);
    EXPECT_NE(head.find(" 200 "), std::string::npos) << head;
    return client;
  }
  void signalAndAwaitDraining() {
    ::kill(server_->pid(), SIGTERM);
    std::string last;
    for (const auto until = std::chrono::steady_clock::now() + 10s; std::chrono::steady_clock::now() < until; std::this_thread::sleep_for(20ms)) {
      Client client(port_);
      const auto health = client.ask(get("/health"));
      last = health.body;
      if (health.status != 503) continue;
      EXPECT_NE(health.body.find("draining"), std::string::npos) << health.body;
      return;
    }
    FAIL() << "never drained: " << last;
  }
  void expectOrderlyEnd(std::chrono::milliseconds within) {
    const Outcome outcome = server_->waitFromNow(within);
    EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
    EXPECT_TRUE(server_->waitUntilAlone(5s));
    EXPECT_EQ(server_->leftovers(), Words{});
  }

  Folder folder_;
  std::optional<Program> server_;
  uint16_t port_ = 0;
};

TEST_F(Drain, AnswersThatAreBegunAreFinished) {
  start("60");
  const auto client = streaming(6000);
  signalAndAwaitDraining();
  const auto refused = Client(port_).ask(post("/v1/completions", request(5)));
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.head.find("Retry-After: "), std::string::npos) << refused.head;
  const std::string rest = client->readUntil("data: [DONE]\n\n", 60s);
  EXPECT_TRUE(rest.ends_with("data: [DONE]\n\n")) << rest.substr(rest.size() - std::min<size_t>(rest.size(), 500));
  EXPECT_NE(rest.find(R"("finish_reason":"length")"), std::string::npos);
  expectOrderlyEnd(15s);
}

TEST_F(Drain, ASecondSignalDoesNotWait) {
  start("600");
  const auto client = streaming(50'000);
  signalAndAwaitDraining();
  ::kill(server_->pid(), SIGTERM);
  expectOrderlyEnd(15s);
  const std::string rest = client->readToEnd(5s);
  EXPECT_EQ(rest.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(client->atEnd());
}

TEST_F(Drain, ItIsBounded) {
  start("0.5");
  const auto client = streaming(50'000);
  ::kill(server_->pid(), SIGTERM);
  expectOrderlyEnd(20s);
  const std::string rest = client->readToEnd(5s);
  EXPECT_NE(rest.find("\"error\""), std::string::npos) << "an answer that is given up says so";
  EXPECT_TRUE(client->atEnd());
}

}  // namespace
}  // namespace exo::testing
