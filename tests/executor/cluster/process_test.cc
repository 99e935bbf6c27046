// Nodes as processes of their own, killed and frozen: what every failure of membership comes down to.
#include <gtest/gtest.h>
#include <signal.h>

#include <future>

#include "child_process.h"
#include "executor/cluster/client.h"

namespace exo::cluster {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kPeerTimeoutMs = 4000;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A test_node.
class Process : public ChildProcess {
 public:
  Process(uint32_t rank, uint32_t world, const std::string& coordinator, int token_ms = 10)
      : ChildProcess({CLUSTER_TEST_NODE, std::to_string(rank), std::to_string(world), "127.0.0.1:0", coordinator,
                      std::to_string(kPeerTimeoutMs), std::to_string(token_ms)}) {}
};

class Count : public GenerateSink {
 public:
  Status token(int32_t) override {
    ++tokens;
    return {};
  }
  Status logits(int64_t, int64_t, int64_t, std::span<const float>) override { return {}; }
  std::atomic<int> tokens = 0;
};

class Processes : public testing::Test {
 protected:
  void SetUp() override {
    a_ = std::make_unique<Process>(0, 3, "127.0.0.1:1");
    address_ = a_->waitFor("listening ");
    ASSERT_FALSE(address_.empty());
    b_ = std::make_unique<Process>(1, 3, address_);
    c_ = std::make_unique<Process>(2, 3, address_);
    for (Process* each : {a_.get(), b_.get(), c_.get()}) {
      each->waitFor("ready");
      ASSERT_TRUE(contains(each->output(), "ready\n")) << each->output();
    }
  }

  /// Starts an endless generation and waits for its first tokens.
  std::future<Result<GenerateStats>> generating() {
    auto running = std::async(std::launch::async, [this]() -> Result<GenerateStats> {
      const auto address = parseAddress(address_);
      EXO_ASSIGN(const auto client, ControlClient::connect(*address, Security::loopbackOnly(), {.peer_timeout = std::chrono::milliseconds(kPeerTimeoutMs)}));
      return client->generate({.prompt = {1}, .max_tokens = 1'000'000, .eos_ids = {}}, sink_);
    });
    for (int i = 0; i < 1000 && sink_.tokens < 3; ++i) std::this_thread::sleep_for(10ms);
    EXPECT_GE(sink_.tokens, 3);
    return running;
  }

  void expectEnds(Process& process, const std::string& cause, std::chrono::milliseconds within) {
    EXPECT_EQ(process.wait(within), 1) << process.output();
    EXPECT_TRUE(contains(process.output(), cause)) << process.output();
  }

  std::string address_;
  std::unique_ptr<Process> a_, b_, c_;
  Count sink_;
};

TEST_F(Processes, AKilledFollowerEndsAllAndTheClientHearsItsName) {
  auto running = generating();
  b_->signal(SIGKILL);
  ASSERT_EQ(running.wait_for(5s), std::future_status::ready);
  const auto stats = running.get();
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.error().code(), ErrorCode::kPeerLost);
  EXPECT_EQ(stats.error().scope(), ErrorScope::kJob);
  EXPECT_TRUE(contains(stats.error().message(), "lost node \"b\" (rank 1) while serving")) << stats.error();
  expectEnds(*a_, "lost node \"b\"", 5s);
  expectEnds(*c_, "lost node \"b\"", 5s);
}

TEST_F(Processes, AFrozenFollowerIsNoticedWithinThePeerTimeout) {
  const auto start = Clock::now();
  b_->signal(SIGSTOP);  // as good as a host that is gone: it answers nothing, and nothing is reset
  expectEnds(*a_, "lost node \"b\"", std::chrono::milliseconds(kPeerTimeoutMs) + 5s);
  expectEnds(*c_, "lost node \"b\"", 5s);
  EXPECT_GT(Clock::now() - start, 500ms);
}

TEST_F(Processes, AKilledRankZeroEndsFollowersAndClient) {
  auto running = generating();
  a_->signal(SIGKILL);
  ASSERT_EQ(running.wait_for(5s), std::future_status::ready);
  const auto stats = running.get();
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.error().code(), ErrorCode::kPeerLost);
  expectEnds(*b_, "lost node \"a\" (rank 0)", 5s);
  expectEnds(*c_, "lost node \"a\" (rank 0)", 5s);
}

TEST_F(Processes, AFrozenRankZeroIsNoticedByAll) {
  a_->signal(SIGSTOP);
  expectEnds(*b_, "lost node \"a\" (rank 0)", std::chrono::milliseconds(kPeerTimeoutMs) + 5s);
  expectEnds(*c_, "lost node \"a\" (rank 0)", 5s);
}

TEST_F(Processes, ATerminatedFollowerStopsAllInOrder) {
  b_->signal(SIGTERM);
  for (Process* each : {a_.get(), b_.get(), c_.get()}) EXPECT_EQ(each->wait(5s), 0) << each->output();
}

TEST_F(Processes, ATerminatedRankZeroStopsAllInOrderAndTellsItsClient) {
  auto running = generating();
  a_->signal(SIGTERM);
  for (Process* each : {a_.get(), b_.get(), c_.get()}) EXPECT_EQ(each->wait(5s), 0) << each->output();
  ASSERT_EQ(running.wait_for(5s), std::future_status::ready);
  const auto stats = running.get();
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.error().code(), ErrorCode::kCancelled);
  EXPECT_TRUE(contains(stats.error().message(), "terminated")) << stats.error();
}

}  // namespace
}  // namespace exo::cluster
