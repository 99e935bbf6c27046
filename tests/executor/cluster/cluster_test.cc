// Membership and the control service, nodes as threads of this process with fake engines.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <condition_variable>
#include <future>
#include <mutex>

#include "executor/cluster/client.h"
#include "executor/transport/socket.h"
#include "fake_worker.h"

namespace exo::cluster {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

const Address kAnyPort{"127.0.0.1", 0};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// One node in a thread.
class Node {
 public:
  Node(NodeOptions options, Security security, std::chrono::milliseconds token_time = 0ms)
      : security_(std::move(security)), worker(stop, token_time) {
    options.events.listening = [this](const Address& address) { listening_.set_value(address); };
    options.events.ready = [this](const NodeInfo&, uint64_t) { ready_.set_value(); };
    options_ = std::move(options);
  }
  ~Node() {
    stop.stop("the test is over");
    if (thread_.joinable()) thread_.join();
  }
  Node& start() {
    thread_ = std::thread([this] { result_.set_value(runNode(options_, security_, worker, stop)); });
    return *this;
  }
  Address address() {
    auto future = listening_.get_future();
    EXPECT_EQ(future.wait_for(10s), std::future_status::ready) << "the node does not listen";
    return future.get();
  }
  bool waitReady() { return ready_.get_future().wait_for(10s) == std::future_status::ready; }
  Status result() {
    auto future = result_.get_future();
    if (future.wait_for(20s) != std::future_status::ready) return makeError(ErrorCode::kTimeout, "the node does not end");
    return future.get();
  }

  StopSignal stop;

 private:
  NodeOptions options_;
  Security security_;
  std::promise<Address> listening_;
  std::promise<void> ready_;
  std::promise<Status> result_;
  std::thread thread_;

 public:
  FakeWorker worker;
};

class Tokens : public GenerateSink {
 public:
  Status token(int32_t id) override {
    ids.push_back(id);
    return stop_at > 0 && static_cast<int>(ids.size()) >= stop_at ? Status(makeError(ErrorCode::kCancelled, "enough")) : Status{};
  }
  Status logits(int64_t, int64_t column_begin, int64_t, std::span<const float> values) override {
    EXPECT_EQ(column_begin, static_cast<int64_t>(row.size()));
    row.insert(row.end(), values.begin(), values.end());
    return {};
  }
  std::vector<int32_t> ids;
  std::vector<float> row;
  int stop_at = 0;
};

/// A cluster of `world` nodes that is ready, and a client of its rank 0.
struct Cluster {
  explicit Cluster(uint32_t world, const Security& security = Security::loopbackOnly(), std::chrono::milliseconds token_time = 0ms) {
    nodes.push_back(std::make_unique<Node>(fakeNode(0, world, kAnyPort, kAnyPort), security, token_time));
    address = nodes[0]->start().address();
    for (uint32_t rank = 1; rank < world; ++rank) {
      nodes.push_back(std::make_unique<Node>(fakeNode(rank, world, kAnyPort, address), security, token_time));
    }
  }
  void start(const Security& security = Security::loopbackOnly()) {
    for (size_t rank = 1; rank < nodes.size(); ++rank) nodes[rank]->start();
    for (auto& node : nodes) ASSERT_TRUE(node->waitReady());
    auto connected = ControlClient::connect(address, security);
    ASSERT_TRUE(connected.ok()) << connected.error();
    client = std::move(*connected);
  }
  std::vector<std::unique_ptr<Node>> nodes;
  Address address;
  std::unique_ptr<ControlClient> client;
};

TEST(Cluster, ThreeNodesJoinServeAndStopTogether) {
  Cluster cluster(3);
  cluster.start();
  Tokens tokens;
  const auto stats = cluster.client->generate({.prompt = {10, 20}, .max_tokens = 3, .eos_ids = {}}, tokens);
  ASSERT_TRUE(stats.ok()) << stats.error();
  EXPECT_EQ(tokens.ids, (std::vector<int32_t>{21, 22, 23}));
  EXPECT_EQ(stats->reason, FinishReason::kLength);
  EXPECT_EQ(stats->prompt_tokens, 2);
  EXPECT_EQ(stats->generated_tokens, 3);

  const auto status = cluster.client->status();
  ASSERT_TRUE(status.ok()) << status.error();
  EXPECT_EQ(status->state, "serving");
  EXPECT_EQ(status->members_here, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(status->tokens_served, 3u);
  EXPECT_GT(status->memory_bytes, 1'000'000u);

  // All have the same session, with everyone's endpoint in it.
  const Session& first = cluster.nodes[0]->worker.session();
  ASSERT_EQ(first.members.size(), 3u);
  EXPECT_NE(first.key, (std::array<uint8_t, 32>{}));
  for (auto& node : cluster.nodes) {
    EXPECT_EQ(node->worker.session().key, first.key);
    EXPECT_EQ(node->worker.session().members[2].node, "c");
    EXPECT_EQ(node->worker.session().members[2].data_endpoint, "127.0.0.1:4711/boot/unix");
  }

  ASSERT_TRUE(cluster.client->shutdown("the test asks").ok());
  for (auto& node : cluster.nodes) {
    const Status status = node->result();
    EXPECT_TRUE(status.ok()) << status.error();
    EXPECT_TRUE(contains(node->stop.reason(), "the test asks")) << node->stop.reason();
  }
}

TEST(Cluster, RankZeroHearsOfEveryNode) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<MemberStatus> heard;
  NodeOptions options = fakeNode(0, 2, kAnyPort, kAnyPort);
  options.events.members = [&](const std::vector<MemberStatus>& members) {
    const std::lock_guard lock(mutex);
    heard = members;
    changed.notify_all();
  };
  Node first(std::move(options), Security::loopbackOnly());
  const Address address = first.start().address();
  Node second(fakeNode(1, 2, kAnyPort, address), Security::loopbackOnly());
  second.start();
  std::unique_lock lock(mutex);
  const bool all = changed.wait_for(lock, 20s, [&] { return heard.size() == 2 && heard[0].state == NodeState::kServing && heard[1].report; });
  ASSERT_TRUE(all);
  for (const MemberStatus& member : heard) {
    EXPECT_EQ(member.report->engine.memory->weights, 1000u);
    EXPECT_EQ(member.report->engine.links[0].sent_bytes, 77u);
    EXPECT_GT(member.report->resident_bytes, 1'000'000u);
    EXPECT_GE(member.report->machine.processors, 1);
  }
}

TEST(Cluster, LogitsOfAWholeRowArriveInOrder) {
  Cluster cluster(1);
  cluster.start();
  Tokens tokens;
  const auto stats = cluster.client->generate({.prompt = {1}, .max_tokens = 0, .eos_ids = {}, .want_logits = true}, tokens);
  ASSERT_TRUE(stats.ok()) << stats.error();
  ASSERT_EQ(tokens.row.size(), static_cast<size_t>(kNumLogits));
  for (const int at : {0, 1, 262'143, 262'144, kNumLogits - 1}) EXPECT_EQ(tokens.row[at], static_cast<float>(at));
}

TEST(Cluster, ARefusedRequestLeavesTheClusterServing) {
  Cluster cluster(2);
  cluster.start();
  Tokens tokens;
  auto stats = cluster.client->generate({.prompt = {kBadRequest}, .max_tokens = 3, .eos_ids = {}}, tokens);
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.error().code(), ErrorCode::kInvalidInput);
  EXPECT_EQ(stats.error().scope(), ErrorScope::kRequest);
  EXPECT_EQ(stats.error().message(), "this prompt is refused");
  stats = cluster.client->generate({.prompt = {}, .max_tokens = 3, .eos_ids = {}}, tokens);
  ASSERT_FALSE(stats.ok());
  EXPECT_TRUE(contains(stats.error().message(), "no tokens")) << stats.error();
  EXPECT_TRUE(cluster.client->generate({.prompt = {1}, .max_tokens = 1, .eos_ids = {}}, tokens).ok());
}

TEST(Cluster, AClientThatGoesAwayFreesTheNodeForTheNext) {
  Cluster cluster(1, Security::loopbackOnly(), 5ms);
  cluster.start();
  Tokens impatient;
  impatient.stop_at = 2;
  const auto cut = cluster.client->generate({.prompt = {1}, .max_tokens = 1'000'000, .eos_ids = {}}, impatient);
  ASSERT_FALSE(cut.ok());
  EXPECT_EQ(cut.error().message(), "enough");
  Tokens tokens;
  const auto start = Clock::now();
  EXPECT_TRUE(cluster.client->generate({.prompt = {1}, .max_tokens = 2, .eos_ids = {}}, tokens).ok());
  EXPECT_LT(Clock::now() - start, 3s);
}

TEST(Cluster, RequestsWaitForTheirTurn) {
  Cluster cluster(1, Security::loopbackOnly(), 2ms);
  cluster.start();
  std::vector<std::future<bool>> done;
  for (int i = 0; i < 5; ++i) {
    done.push_back(std::async(std::launch::async, [&, i] {
      Tokens tokens;
      const auto stats = cluster.client->generate({.prompt = {100 * i}, .max_tokens = 20, .eos_ids = {}}, tokens);
      return stats.ok() && tokens.ids.size() == 20 && tokens.ids[0] == 100 * i + 1 && tokens.ids[19] == 100 * i + 20;
    }));
  }
  for (auto& each : done) EXPECT_TRUE(each.get());
}

TEST(Cluster, AFollowersBrokenEngineReachesTheWaitingClientAndEndsAll) {
  Cluster cluster(3, Security::loopbackOnly(), 5ms);
  cluster.nodes[1]->worker.break_after = 300ms;
  cluster.start();
  Tokens tokens;
  const auto stats = cluster.client->generate({.prompt = {1}, .max_tokens = 1'000'000, .eos_ids = {}}, tokens);
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.error().code(), ErrorCode::kIo);
  EXPECT_TRUE(contains(stats.error().message(), "node \"b\" (rank 1)")) << stats.error();
  EXPECT_TRUE(contains(stats.error().message(), "layers.3")) << stats.error();
  for (auto& node : cluster.nodes) {
    const Status status = node->result();
    ASSERT_FALSE(status.ok());
    EXPECT_TRUE(contains(status.error().message(), "layers.3")) << status.error();
  }
}

TEST(Cluster, RankZerosBrokenEngineEndsAll) {
  Cluster cluster(2);
  cluster.start();
  Tokens tokens;
  const auto stats = cluster.client->generate({.prompt = {kBrokenEngine}, .max_tokens = 1, .eos_ids = {}}, tokens);
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.error().scope(), ErrorScope::kRank);
  for (auto& node : cluster.nodes) {
    const Status status = node->result();
    ASSERT_FALSE(status.ok());
    EXPECT_TRUE(contains(status.error().message(), "rank 0's fake engine broke")) << status.error();
  }
}

TEST(Join, AMissingNodeIsNamedToAllThatCame) {
  NodeOptions options = fakeNode(0, 3, kAnyPort, kAnyPort);
  options.join_timeout = 4000ms;
  Node a(options, Security::loopbackOnly());
  const Address address = a.start().address();
  Node b(fakeNode(1, 3, kAnyPort, address), Security::loopbackOnly());
  b.start();
  for (Node* node : {&a, &b}) {
    const Status status = node->result();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
    EXPECT_TRUE(contains(status.error().message(), "missing: c")) << status.error();
  }
}

TEST(Join, WithoutRankZeroAFollowerGivesUpNamingIt) {
  const Address nobody{"127.0.0.1", 1};
  NodeOptions options = fakeNode(1, 2, kAnyPort, nobody);
  options.join_timeout = 700ms;
  Node b(options, Security::loopbackOnly());
  const auto start = Clock::now();
  const Status status = b.start().result();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
  EXPECT_TRUE(contains(status.error().message(), "node \"a\" (rank 0) at 127.0.0.1:1")) << status.error();
  EXPECT_LT(Clock::now() - start, 5s);
}

TEST(Join, RankZeroMayStartLast) {
  // A free port, for a moment.
  const auto probe = transport::Listener::open();
  ASSERT_TRUE(probe.ok());
  const Address address{"127.0.0.1", static_cast<uint16_t>(probe->port() ^ 1)};
  Node b(fakeNode(1, 2, kAnyPort, address), Security::loopbackOnly());
  b.start();
  std::this_thread::sleep_for(500ms);
  Node a(fakeNode(0, 2, address, address), Security::loopbackOnly());
  a.start();
  EXPECT_TRUE(a.waitReady());
  EXPECT_TRUE(b.waitReady());
}

struct Disagreement {
  const char* name;
  std::function<void(NodeOptions&)> change;
  std::vector<std::string> said;
};
class Refused : public testing::TestWithParam<Disagreement> {};

TEST_P(Refused, WithBothValues) {
  NodeOptions leader = fakeNode(0, 2, kAnyPort, kAnyPort);
  leader.join_timeout = 4000ms;
  Node a(leader, Security::loopbackOnly());
  const Address address = a.start().address();
  NodeOptions options = fakeNode(1, 2, kAnyPort, address);
  GetParam().change(options);
  Node b(options, Security::loopbackOnly());
  const Status status = b.start().result();
  ASSERT_FALSE(status.ok());
  for (const std::string& part : GetParam().said) EXPECT_TRUE(contains(status.error().message(), part)) << status.error();
  // For rank 0 this is one node that has not come: the right one may still do so.
  const Status missing = a.result();
  ASSERT_FALSE(missing.ok());
  EXPECT_TRUE(contains(missing.error().message(), "missing: b")) << missing.error();
}

INSTANTIATE_TEST_SUITE_P(
    Join, Refused,
    testing::Values(Disagreement{"plan", [](NodeOptions& options) { options.roster.plan_hash = std::string(32, '\x22'); },
                                 {"plan 222222222222", "111111111111", "same plan directory"}},
                    Disagreement{"program", [](NodeOptions& options) { options.roster.nodes[1].program_hash = std::string(32, '\x7f'); },
                                 {"program 7f7f7f7f7f7f", "010101010101"}},
                    Disagreement{"weights", [](NodeOptions& options) { options.roster.weights = "random 42"; },
                                 {"\"random 42\"", "\"checkpoint\"", "--random_weights"}},
                    Disagreement{"name", [](NodeOptions& options) { options.info.node = "stranger"; }, {"\"stranger\"", "rank 1"}}),
    [](const auto& info) { return info.param.name; });

TEST(Join, APlaceIsTakenOnce) {
  Cluster cluster(2);
  cluster.start();
  Node again(fakeNode(1, 2, kAnyPort, cluster.address), Security::loopbackOnly());
  const Status status = again.start().result();
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(contains(status.error().message(), "node \"b\" (rank 1) has already joined")) << status.error();
  Tokens tokens;
  EXPECT_TRUE(cluster.client->generate({.prompt = {1}, .max_tokens = 1, .eos_ids = {}}, tokens).ok());
}

TEST(Service, AFollowerSendsClientsToRankZero) {
  const Address nobody{"127.0.0.1", 1};
  Node b(fakeNode(1, 2, kAnyPort, nobody), Security::loopbackOnly());
  const auto client = ControlClient::connect(b.start().address(), Security::loopbackOnly());
  ASSERT_TRUE(client.ok()) << client.error();
  Tokens tokens;
  const auto stats = (*client)->generate({.prompt = {1}, .max_tokens = 1, .eos_ids = {}}, tokens);
  ASSERT_FALSE(stats.ok());
  EXPECT_TRUE(contains(stats.error().message(), "ask rank 0 at 127.0.0.1:1")) << stats.error();
}

TEST(Service, APortInUseIsAnErrorAtOnce) {
  Node a(fakeNode(0, 2, kAnyPort, kAnyPort), Security::loopbackOnly());
  const Address address = a.start().address();
  Node again(fakeNode(0, 2, address, kAnyPort), Security::loopbackOnly());
  const Status status = again.start().result();
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(contains(status.error().message(), address.text())) << status.error();
}

TEST(Service, GarbageOnThePortHarmsNobody) {
  Cluster cluster(1);
  cluster.start();
  const auto target = transport::tcpAddress("127.0.0.1", cluster.address.port);
  ASSERT_TRUE(target.ok());
  for (int i = 0; i < 20; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(fd, target->get(), target->length), 0);
    std::string noise(4096, static_cast<char>(37 * i + 11));
    (void)::send(fd, noise.data(), noise.size(), MSG_NOSIGNAL);
    ::close(fd);
  }
  Tokens tokens;
  EXPECT_TRUE(cluster.client->generate({.prompt = {1}, .max_tokens = 1, .eos_ids = {}}, tokens).ok());
}

// With secrets.

Security secret(const std::string& text) {
  auto security = Security::fromSecret(text);
  EXPECT_TRUE(security.ok()) << security.error();
  return std::move(*security);
}

TEST(Secrets, NodesWithTheSameSecretFormACluster) {
  const Security security = secret("a secret of enough bytes");
  Cluster cluster(2, security);
  cluster.start(secret("a secret of enough bytes"));
  Tokens tokens;
  EXPECT_TRUE(cluster.client->generate({.prompt = {1}, .max_tokens = 1, .eos_ids = {}}, tokens).ok());
}

TEST(Secrets, AnotherSecretIsRefusedAtOnceOnBothSides) {
  NodeOptions leader = fakeNode(0, 2, kAnyPort, kAnyPort);
  leader.join_timeout = 5000ms;
  Node a(leader, secret("the right secret, long enough"));
  const Address address = a.start().address();
  Node b(fakeNode(1, 2, kAnyPort, address), secret("another secret, long enough"));
  const auto start = Clock::now();
  const Status status = b.start().result();
  EXPECT_LT(Clock::now() - start, 5s);
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(contains(status.error().message(), "another cluster secret")) << status.error();
  const Status missing = a.result();
  ASSERT_FALSE(missing.ok());
  EXPECT_TRUE(contains(missing.error().message(), "missing: b")) << missing.error();
  EXPECT_TRUE(contains(missing.error().message(), "another cluster secret")) << missing.error();
}

TEST(Secrets, APlainClientGetsNowhere) {
  Node a(fakeNode(0, 2, kAnyPort, kAnyPort), secret("the right secret, long enough"));
  const Address address = a.start().address();
  const auto client = ControlClient::connect(address, Security::loopbackOnly(), {.connect_timeout = 1500ms});
  ASSERT_FALSE(client.ok());
  EXPECT_TRUE(contains(client.error().message(), "--secret_file")) << client.error();
}

TEST(Secrets, AClientWithASecretNoticesAPlainNode) {
  Node a(fakeNode(0, 2, kAnyPort, kAnyPort), Security::loopbackOnly());
  const Address address = a.start().address();
  const auto client = ControlClient::connect(address, secret("the right secret, long enough"), {.connect_timeout = 1500ms});
  ASSERT_FALSE(client.ok());
  EXPECT_TRUE(contains(client.error().message(), "has no cluster secret")) << client.error();
}

TEST(Secrets, WithoutOneNobodyListensBeyondThisMachine) {
  for (const char* host : {"0.0.0.0", "::", "192.0.2.1"}) {
    Node a(fakeNode(0, 2, {host, 0}, kAnyPort), Security::loopbackOnly());
    const Status status = a.start().result();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), ErrorCode::kInvalidInput);
    EXPECT_TRUE(contains(status.error().message(), "--secret_file")) << status.error();
    EXPECT_TRUE(contains(status.error().message(), host)) << status.error();
  }
}

TEST(Secrets, WithoutOneNobodyIsDialedBeyondThisMachine) {
  Node b(fakeNode(1, 2, kAnyPort, {"192.0.2.1", 52416}), Security::loopbackOnly());
  const auto start = Clock::now();
  const Status status = b.start().result();
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(contains(status.error().message(), "--secret_file")) << status.error();
  EXPECT_LT(Clock::now() - start, 2s);
  EXPECT_FALSE(ControlClient::connect({"192.0.2.1", 52416}, Security::loopbackOnly()).ok());
}

TEST(Secrets, ListeningOnAllAddressesOthersAreToldTheReachableOne) {
  const Security security = secret("a secret of enough bytes");
  Node a(fakeNode(0, 2, {"0.0.0.0", 0}, kAnyPort), security);
  const uint16_t port = a.start().address().port;
  Node b(fakeNode(1, 2, {"0.0.0.0", 0}, {"127.0.0.1", port}), security);
  b.start();
  ASSERT_TRUE(b.waitReady());
  ASSERT_TRUE(a.waitReady());
  EXPECT_EQ(b.worker.session().members[0].data_endpoint, "127.0.0.1:4711/boot/unix");
  EXPECT_EQ(a.worker.session().members[1].data_endpoint, "127.0.0.1:4711/boot/unix");
}

}  // namespace
}  // namespace exo::cluster
