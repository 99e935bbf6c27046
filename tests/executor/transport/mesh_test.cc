// Making links: who may join, what is said when somebody may not, and what is left behind.
#include "executor/transport/mesh.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "tests/executor/transport/links.h"

namespace exo::transport {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

size_t openDescriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

size_t filesIn(const char* folder) {
  const std::filesystem::directory_iterator entries(folder);
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

/// A descriptor connected to the listener's TCP port.
FileDescriptor dialed(const Endpoint& endpoint) {
  const Result<SocketAddress> address = tcpAddress(endpoint.address, endpoint.port);
  EXPECT_TRUE(address.ok());
  FileDescriptor fd(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(connect(fd.get(), address->get(), address->length), 0);
  return fd;
}

void sendText(Connection& link, const std::string& text) {
  const uint64_t seq = link.sendSequence();
  ASSERT_TRUE(link.canSend(seq));
  std::memcpy(link.sendSlot(seq).data(), text.data(), text.size());
  ASSERT_TRUE(link.commit(seq, text.size()).ok());
}

std::string receiveText(Connection& link) {
  const uint64_t seq = link.receiveSequence();
  const auto deadline = Clock::now() + 5s;
  while (link.received(seq).state != Poll::State::kArrived && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(link.received(seq).state, Poll::State::kArrived);
  const std::span<const std::byte> slot = link.receiveSlot(seq);
  std::string text(reinterpret_cast<const char*>(slot.data()), slot.size());
  link.release(seq);
  return text;
}

TEST(Endpoint, TextRoundTrips) {
  const Endpoint v4{"10.0.0.7", 4711, "boot", "exo-1"};
  EXPECT_EQ(v4.text(), "10.0.0.7:4711/boot/exo-1");
  EXPECT_EQ(*Endpoint::parse(v4.text()), v4);
  const Endpoint v6{"fe80::1", 1, "", ""};
  EXPECT_EQ(v6.text(), "[fe80::1]:1//");
  EXPECT_EQ(*Endpoint::parse(v6.text()), v6);
}

TEST(Endpoint, RefusesWhatItDidNotPrint) {
  for (const char* text : {"", "/", "//", "a:1//", "10.0.0.7//", "10.0.0.7:0//", "10.0.0.7:65536//", "10.0.0.7:x//", "10.0.0.7:1/",
                           "10.0.0.7:1///", "localhost:80//"})
    EXPECT_FALSE(Endpoint::parse(text).ok()) << text;
  EXPECT_FALSE(Endpoint::parse("10.0.0.7:1//" + std::string(200, 'x')).ok());
  EXPECT_FALSE(Endpoint::parse(std::string(100'000, '/')).ok());
}

TEST(Listener, RefusesForeignAddresses) {
  EXPECT_FALSE(Listener::open("example.org").ok());
  EXPECT_FALSE(Listener::open("192.0.2.1").ok());  // documentation range: nobody's
  const auto first = Listener::open();
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(Listener::open("127.0.0.1", first->port()).ok());
}

TEST(Mesh, AutoTakesSharedMemoryOnOneHost) {
  Listeners open(2);
  std::vector<Kind> kinds(2);
  onThreads(2, [&](int rank) {
    auto mesh = Mesh::connect(std::move(open.listeners[rank]), optionsFor(rank, open.endpoints, Choice::kAuto));
    ASSERT_TRUE(mesh.ok()) << mesh.error().message();
    kinds[rank] = (*mesh)->peer(1 - rank).kind();
  });
  EXPECT_EQ(kinds, (std::vector{Kind::kShm, Kind::kShm}));
}

/// Links two ranks, each with its own choice; both must come to the same transport. Why they did is added to `whys`.
Kind linkedBy(Listeners& open, Choice choice0, Choice choice1, std::vector<std::string>& whys, const std::string& device1 = "") {
  std::vector<Kind> kinds(2);
  whys.assign(2, "");
  onThreads(2, [&](int rank) {
    MeshOptions options = optionsFor(rank, open.endpoints, rank == 0 ? choice0 : choice1);
    if (rank == 1) options.device.name = device1;
    auto mesh = Mesh::connect(std::move(open.listeners[rank]), options);
    ASSERT_TRUE(mesh.ok()) << mesh.error().message();
    kinds[rank] = (*mesh)->peer(1 - rank).kind();
    whys[rank] = (*mesh)->peer(1 - rank).why();
    sendText((*mesh)->peer(1 - rank), "hello from " + std::to_string(rank));
    EXPECT_EQ(receiveText((*mesh)->peer(1 - rank)), "hello from " + std::to_string(1 - rank));
  });
  EXPECT_EQ(kinds[0], kinds[1]);
  return kinds[0];
}

/// What auto comes to where shm is not possible; it says why.
void expectVerbsOrTcp(Listeners& open) {
  std::vector<std::string> whys;
  const std::string no_verbs = missing(Wire::kVerbs);
  EXPECT_EQ(linkedBy(open, Choice::kAuto, Choice::kAuto, whys), no_verbs.empty() ? Kind::kVerbs : Kind::kTcp) << whys[0] << " / " << whys[1];
  const std::string expected = no_verbs.empty() ? "RoCE v2" : "no verbs: " + no_verbs;
  for (const std::string& why : whys) EXPECT_NE(why.find(expected), std::string::npos) << why;
}

TEST(Mesh, AutoTakesVerbsOrTcpWhereTheLocalSocketCannotBeReached) {
  Listeners open(2);
  open.endpoints[0].unix_name = "exo-not-there";
  expectVerbsOrTcp(open);
}

TEST(Mesh, AutoTakesVerbsOrTcpBetweenHosts) {
  Listeners open(2);
  open.endpoints[0].boot_id = "another";
  expectVerbsOrTcp(open);
}

TEST(Mesh, ARankToldToUseTcpGetsItFromOneThatMayUseVerbs) {
  for (const auto& [choice0, choice1] : {std::pair{Choice::kTcp, Choice::kAuto}, std::pair{Choice::kAuto, Choice::kTcp}}) {
    Listeners open(2);
    open.endpoints[0].boot_id = "another";
    std::vector<std::string> whys;
    EXPECT_EQ(linkedBy(open, choice0, choice1, whys), Kind::kTcp);
  }
}

TEST(Mesh, ADeviceThatIsNotThereIsTold) {
  Listeners open(2);
  open.endpoints[0].boot_id = "another";
  std::vector<std::string> whys;
  EXPECT_EQ(linkedBy(open, Choice::kAuto, Choice::kAuto, whys, "nowhere0"), Kind::kTcp);
  EXPECT_NE(whys[0].find("no verbs"), std::string::npos) << whys[0];
  EXPECT_NE(whys[1].find("no verbs"), std::string::npos) << whys[1];
  if (!missing(Wire::kVerbs).empty()) return;
  EXPECT_NE(whys[0].find("at node1: no verbs device nowhere0"), std::string::npos) << whys[0];
}

TEST(Mesh, VerbsDemandedAndNotPossibleIsAnErrorOnBothSides) {
  if (missing(Wire::kVerbs).empty()) GTEST_SKIP() << "verbs is possible here";
  Listeners open(2);
  onThreads(2, [&](int rank) {
    MeshOptions options = optionsFor(rank, open.endpoints, rank == 0 ? Choice::kAuto : Choice::kVerbs);
    options.connect_timeout = 1000ms;
    const auto mesh = Mesh::connect(std::move(open.listeners[rank]), options);
    ASSERT_FALSE(mesh.ok());
    EXPECT_EQ(mesh.error().code(), rank == 0 ? ErrorCode::kTimeout : ErrorCode::kMismatch);
    EXPECT_NE(mesh.error().message().find("verbs is demanded, but not possible: " + missing(Wire::kVerbs)), std::string::npos)
        << mesh.error().message();
  });
}

TEST(Mesh, MixesTransportsAndLinksOnlyListedPeers) {
  Listeners open(3);
  onThreads(3, [&](int rank) {
    MeshOptions options = optionsFor(rank, open.endpoints, Choice::kAuto);
    // 0 - 1 over shm, 1 - 2 over tcp, 0 - 2 not at all.
    std::erase_if(options.peers, [&](const PeerOptions& peer) { return peer.rank + rank == 2; });
    for (PeerOptions& peer : options.peers) peer.choice = peer.rank + rank == 1 ? Choice::kShm : Choice::kTcp;
    auto mesh = Mesh::connect(std::move(open.listeners[rank]), options);
    ASSERT_TRUE(mesh.ok()) << mesh.error().message();
    EXPECT_EQ((*mesh)->has(1), rank != 1);
    EXPECT_EQ((*mesh)->has(0), rank == 1);
    EXPECT_EQ((*mesh)->has(2), rank == 1);
    if (rank == 1) {
      EXPECT_EQ((*mesh)->peer(0).kind(), Kind::kShm);
      EXPECT_EQ((*mesh)->peer(2).kind(), Kind::kTcp);
    }
  });
}

TEST(Mesh, OneRankNeedsNoPeers) {
  Listeners open(1);
  EXPECT_TRUE(Mesh::connect(std::move(open.listeners[0]), optionsFor(0, open.endpoints, Choice::kAuto)).ok());
}

TEST(Mesh, RefusesImpossibleOptions) {
  Listeners open(2);
  const auto refused = [&](auto&& change, const char* message) {
    Listeners own(1);
    MeshOptions options = optionsFor(0, open.endpoints, Choice::kAuto);
    change(options);
    const auto mesh = Mesh::connect(std::move(own.listeners[0]), options);
    ASSERT_FALSE(mesh.ok());
    EXPECT_EQ(mesh.error().code(), ErrorCode::kInvalidInput);
    EXPECT_NE(mesh.error().message().find(message), std::string::npos) << mesh.error().message();
  };
  refused([](MeshOptions& options) { options.world = 0; }, "world must be");
  refused([](MeshOptions& options) { options.world = 1 << 30; }, "world must be");
  refused([](MeshOptions& options) { options.rank = 2; }, "rank must be in [0, 2), got 2");
  refused([](MeshOptions& options) { options.peers[0].rank = 0; }, "is not another rank");
  refused([](MeshOptions& options) { options.peers.push_back(options.peers[0]); }, "appears twice");
  refused([](MeshOptions& options) { options.ring.slot_bytes = 100; }, "slot_bytes must be");
  refused([](MeshOptions& options) { options.ring.num_slots = 0; }, "num_slots must be");
  refused([](MeshOptions& options) { options.connect_timeout = 0ms; }, "timeouts must be positive");
}

/// Connects two ranks of which rank 1 differs by `change`; the errors of both.
std::vector<std::optional<Error>> connectDiffering(Choice choice, const std::function<void(MeshOptions&)>& change) {
  Listeners open(2);
  std::vector<std::optional<Error>> errors(2);
  onThreads(2, [&](int rank) {
    MeshOptions options = optionsFor(rank, open.endpoints, choice);
    options.connect_timeout = 2000ms;
    if (rank == 1) change(options);
    auto mesh = Mesh::connect(std::move(open.listeners[rank]), options);
    if (!mesh.ok()) errors[rank] = mesh.error();
  });
  return errors;
}

TEST(Mesh, AWrongKeyIsToldOnBothSides) {
  for (Choice choice : {Choice::kShm, Choice::kTcp, Choice::kVerbs}) {
    const auto errors = connectDiffering(choice, [](MeshOptions& options) { options.session_key = testKey(2); });
    ASSERT_TRUE(errors[0] && errors[1]);
    EXPECT_EQ(errors[1]->code(), ErrorCode::kMismatch);
    EXPECT_NE(errors[1]->message().find("session keys differ"), std::string::npos) << errors[1]->message();
    EXPECT_NE(errors[1]->message().find("rank 0 (node0)"), std::string::npos) << errors[1]->message();
    EXPECT_EQ(errors[0]->code(), ErrorCode::kTimeout);
    EXPECT_NE(errors[0]->message().find("rank 1 (node1"), std::string::npos) << errors[0]->message();
    EXPECT_NE(errors[0]->message().find("claims to be it"), std::string::npos) << errors[0]->message();
  }
}

TEST(Mesh, DisagreementIsToldWithBothNumbers) {
  const auto refusal = [&](const std::function<void(MeshOptions&)>& change) {
    const auto errors = connectDiffering(Choice::kTcp, change);
    EXPECT_TRUE(errors[0] && errors[1]);
    EXPECT_EQ(errors[1]->code(), ErrorCode::kMismatch);
    return errors[1]->message();
  };
  EXPECT_NE(refusal([](MeshOptions& options) { options.epoch = 4; }).find("epoch 4, there 5"), std::string::npos);
  EXPECT_NE(refusal([](MeshOptions& options) { options.world = 3; }).find("world size 3, there 2"), std::string::npos);
  EXPECT_NE(refusal([](MeshOptions& options) { options.ring.num_slots = 2; }).find("num_slots 2, there 4"), std::string::npos);
  EXPECT_NE(refusal([](MeshOptions& options) { options.ring.slot_bytes = 512; }).find("slot_bytes 512, there"), std::string::npos);
  EXPECT_NE(refusal([](MeshOptions& options) { options.peers[0].choice = Choice::kShm; }).find("shm is not accepted"),
            std::string::npos);
}

TEST(Mesh, AMissingPeerIsNamed) {
  Listeners open(3);
  MeshOptions options = optionsFor(1, open.endpoints, Choice::kAuto);
  options.connect_timeout = 300ms;
  const auto begin = Clock::now();
  const auto mesh = Mesh::connect(std::move(open.listeners[1]), options);
  ASSERT_FALSE(mesh.ok());
  EXPECT_EQ(mesh.error().code(), ErrorCode::kTimeout);
  EXPECT_EQ(mesh.error().scope(), ErrorScope::kLink);
  EXPECT_NE(mesh.error().message().find("rank 0 (node0"), std::string::npos) << mesh.error().message();
  EXPECT_NE(mesh.error().message().find("rank 2 (node2"), std::string::npos) << mesh.error().message();
  EXPECT_LT(Clock::now() - begin, 2s);
}

class LateJoiner : public testing::TestWithParam<Wire> {
 protected:
  void SetUp() override { EXO_SKIP_WITHOUT(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Wires, LateJoiner, testing::Values(Wire::kTcp, Wire::kVerbs), [](const auto& param) { return wireName(param.param); });

TEST_P(LateJoiner, IsAwaitedEvenAtARefusedPort) {
  // Rank 1 dials a port where nobody listens yet.
  auto reserved = Listener::open();
  ASSERT_TRUE(reserved.ok());
  const uint16_t port = reserved->port();
  { const Listener closed = std::move(*reserved); }
  Listeners open(2);
  open.endpoints[0].port = port;
  onThreads(2, [&](int rank) {
    if (rank == 0) {
      std::this_thread::sleep_for(300ms);
      auto late = Listener::open("127.0.0.1", port);
      ASSERT_TRUE(late.ok()) << late.error().message();
      open.listeners[0] = std::move(*late);
    }
    auto mesh = Mesh::connect(std::move(open.listeners[rank]), optionsFor(rank, open.endpoints, choiceOf(GetParam())));
    EXPECT_TRUE(mesh.ok()) << mesh.error().message();
  });
}

TEST(Mesh, StrangersDoNotHinderTheOthers) {
  Listeners open(2);
  std::vector<FileDescriptor> strangers;
  for (int i = 0; i < 100; ++i) strangers.push_back(dialed(open.endpoints[0]));
  const std::string garbage(4096, 'G');
  for (int i = 0; i < 100; ++i) {
    if (i % 4 == 0) continue;                                // silent
    if (i % 4 == 1) { strangers[i].reset(); continue; }      // gone at once
    const size_t size = i % 4 == 2 ? garbage.size() : 3;     // a flood, or a few bytes and silence
    EXPECT_GT(::send(strangers[i].get(), garbage.data(), size, MSG_NOSIGNAL), 0);
  }
  onThreads(2, [&](int rank) {
    auto mesh = Mesh::connect(std::move(open.listeners[rank]), optionsFor(rank, open.endpoints, Choice::kTcp));
    ASSERT_TRUE(mesh.ok()) << mesh.error().message();
    sendText((*mesh)->peer(1 - rank), "hello from " + std::to_string(rank));
    EXPECT_EQ(receiveText((*mesh)->peer(1 - rank)), "hello from " + std::to_string(1 - rank));
  });
}

TEST(Mesh, CancelStopsConnecting) {
  Listeners open(2);
  std::atomic<bool> cancel{false};
  MeshOptions options = optionsFor(0, open.endpoints, Choice::kAuto);
  options.connect_timeout = 60s;
  options.cancel = &cancel;
  std::thread canceller([&] {
    std::this_thread::sleep_for(100ms);
    cancel = true;
  });
  const auto begin = Clock::now();
  const auto mesh = Mesh::connect(std::move(open.listeners[0]), options);
  canceller.join();
  ASSERT_FALSE(mesh.ok());
  EXPECT_EQ(mesh.error().code(), ErrorCode::kCancelled);
  EXPECT_LT(Clock::now() - begin, 1s);
}

TEST(Mesh, LeavesNothingBehind) {
  const size_t descriptors = openDescriptors(), files = filesIn("/dev/shm");
  {
    World shm(4, Wire::kShm), tcp(4, Wire::kTcp);
    if (missing(Wire::kVerbs).empty()) World verbs(2, Wire::kVerbs);
    EXPECT_EQ(filesIn("/dev/shm"), files);
  }
  (void)connectDiffering(Choice::kShm, [](MeshOptions& options) { options.session_key = testKey(2); });
  EXPECT_EQ(openDescriptors(), descriptors);
  EXPECT_EQ(filesIn("/dev/shm"), files);
}

}  // namespace
}  // namespace exo::transport
