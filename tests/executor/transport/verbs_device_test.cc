// Verbs on a device: what goes wrong on a queue pair, and reading a peer's memory. Few hosts have one: tests/vm runs this.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "executor/transport/mapping.h"
#include "executor/transport/verbs/connection.h"
#include "tests/executor/transport/links.h"

namespace exo::transport::verbs {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class OnVerbsDevice : public testing::Test {
 protected:
  void SetUp() override { EXO_SKIP_WITHOUT(Wire::kVerbs); }
};

constexpr size_t kPage = 4096;

/// Two connected queue pairs, and memory of each.
struct Queues : OnVerbsDevice {
  struct Side {
    Mapping memory;
    MemoryRegion region;
    std::unique_ptr<QueuePair> queue;
  };
  std::vector<Port> ports;
  Side a, b;

  void SetUp() override {
    OnVerbsDevice::SetUp();
    if (IsSkipped()) return;
    ports = openPorts({}).value();
    for (Side* side : {&a, &b}) {
      side->memory = Mapping::anonymous(kPage).value();
      side->region = MemoryRegion::registered(ports[0].device, {side->memory.data(), kPage},
                                              IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ).value();
      side->queue = QueuePair::create(ports[0], 16, 64).value();
    }
    ASSERT_TRUE(a.queue->connect(ports[0].path, b.queue->address()).ok());
    ASSERT_TRUE(b.queue->connect(ports[0].path, a.queue->address()).ok());
  }
  Transfer write(size_t offset, uint64_t bytes) const {
    return {Transfer::Direction::kWrite, {a.memory.data(), a.region.localKey()},
            {reinterpret_cast<uint64_t>(b.memory.data()) + offset, b.region.remoteKey()}, bytes, Signal::kYes};
  }
  /// Posts to a's queue and waits until that is done, or failed.
  void carryOut(const Transfer& transfer) {
    a.queue->post(std::span(&transfer, 1));
    const auto deadline = Clock::now() + 30s;
    while (a.queue->retired() < a.queue->posted() && !a.queue->check() && Clock::now() < deadline) std::this_thread::yield();
  }
  void expectFailure(ErrorCode code, const std::string& why) {
    ASSERT_TRUE(a.queue->failure());
    EXPECT_EQ(a.queue->failure()->code, code);
    EXPECT_NE(a.queue->failure()->why.find(why), std::string::npos) << a.queue->failure()->why;
  }
};

TEST_F(Queues, WritesArrive) {
  std::memset(a.memory.data(), 7, kPage);
  carryOut(write(100, 1000));
  EXPECT_FALSE(a.queue->failure());
  EXPECT_EQ(a.queue->retired(), 1u);
  for (size_t i = 0; i < kPage; ++i) ASSERT_EQ(b.memory.data()[i], std::byte(i >= 100 && i < 1100 ? 7 : 0)) << i;
}

TEST_F(Queues, AWrongKeyIsRefused) {
  Transfer wrong = write(0, 100);
  wrong.remote.key ^= 0x5a5a00;
  carryOut(wrong);
  expectFailure(ErrorCode::kMismatch, "remote access error");
}

TEST_F(Queues, AShortBufferIsNotOverrun) {
  carryOut(write(kPage - 50, 100));
  expectFailure(ErrorCode::kMismatch, "remote access error");
  for (size_t i = 0; i < kPage; ++i) ASSERT_EQ(b.memory.data()[i], std::byte(0)) << i;
}

TEST_F(Queues, WhatComesAfterAFailureIsFlushedAndTheFirstCauseStays) {
  Transfer wrong = write(0, 100);
  wrong.remote.key ^= 0x5a5a00;
  const Transfer transfers[] = {wrong, write(0, 8), write(8, 8)};
  a.queue->post(transfers);
  const auto deadline = Clock::now() + 30s;
  while (!a.queue->check() && Clock::now() < deadline) std::this_thread::yield();
  a.queue->poll();
  expectFailure(ErrorCode::kMismatch, "remote access error");
  EXPECT_EQ(a.queue->retired(), 0u);
  a.queue->post(std::span(transfers, 1));
  EXPECT_EQ(a.queue->posted(), 3u);
}

TEST_F(Queues, APeerThatIsGoneIsGivenUp) {
  b.queue.reset();
  const auto begin = Clock::now();
  carryOut(write(0, 100));
  expectFailure(ErrorCode::kPeerLost, "transport retry counter exceeded");
  std::cout << "given up after " << std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count() << " ms" << std::endl;
}

TEST_F(Queues, MoreThanTheDeviceHasIsRefused) {
  const auto queue = QueuePair::create(ports[0], 1u << 30, 64);
  ASSERT_FALSE(queue.ok());
  EXPECT_EQ(queue.error().code(), ErrorCode::kDoesNotFit);
  EXPECT_NE(queue.error().message().find("the ring needs 1073741824"), std::string::npos) << queue.error().message();
}

/// A peer that writes what it likes into a connection's inbox: credit at 0, flags of 128 bytes from 128.
struct LyingVerbsPeer : OnVerbsDevice {
  static constexpr RingShape kRing{512, 3};
  std::unique_ptr<VerbsConnection> link;
  std::unique_ptr<QueuePair> raw;
  Mapping memory;
  MemoryRegion region;
  FileDescriptor end;

  virtual Port port() { return openPorts({}).value()[0]; }
  void SetUp() override {
    OnVerbsDevice::SetUp();
    if (IsSkipped()) return;
    const Port port = this->port();
    link = VerbsConnection::create(1, "liar", kRing, port).value();
    raw = QueuePair::create(port, 16, 64).value();
    memory = Mapping::anonymous(kPage).value();
    region = MemoryRegion::registered(port.device, {memory.data(), kPage}, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE).value();
    ASSERT_TRUE(raw->connect(port.path, link->address().queue).ok());
    ASSERT_TRUE(link->connect(port.path, {raw->address(), reinterpret_cast<uint64_t>(memory.data()), region.remoteKey()}).ok());
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    end = FileDescriptor(fds[0]);
    link->adopt(FileDescriptor(fds[1]));
  }
  void poke(size_t offset, std::span<const uint64_t> words) {
    std::memcpy(memory.data() + 2048, words.data(), words.size_bytes());
    const Transfer transfer = {Transfer::Direction::kWrite, {memory.data() + 2048, region.localKey()},
                               {link->address().address + offset, static_cast<uint32_t>(link->address().key)}, words.size_bytes(), Signal::kYes};
    raw->post(std::span(&transfer, 1));
    const auto deadline = Clock::now() + 30s;
    while (raw->retired() < raw->posted() && !raw->check() && Clock::now() < deadline) std::this_thread::yield();
    ASSERT_FALSE(raw->failure());
  }
  void expectMismatch(const std::string& why) {
    const Status status = link->status();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), ErrorCode::kMismatch);
    EXPECT_NE(status.error().message().find("rank 1 (liar) broke the protocol: " + why), std::string::npos) << status.error().message();
  }
};

TEST_F(LyingVerbsPeer, LongerThanASlot) {
  poke(128, sealed<4>({1, 513, 0}));
  EXPECT_EQ(link->received(0).state, Poll::State::kBroken);
  expectMismatch("message 0 expected, got 0 of 513 B in slots of 512");
}

TEST_F(LyingVerbsPeer, SkippedSequence) {
  poke(128, sealed<4>({4, 8, 0}));
  EXPECT_EQ(link->received(0).state, Poll::State::kBroken);
  expectMismatch("message 0 expected, got 3");
}

TEST_F(LyingVerbsPeer, ReleasedWhatWasNeverSent) {
  poke(128, sealed<4>({1, 8, 9}));
  (void)link->received(0);
  expectMismatch("it released 9 messages of 0");
}

TEST_F(LyingVerbsPeer, GarbageIsNoMessage) {
  const std::array<uint64_t, 4> garbage = {1, 8, 0, 12345};
  poke(128, garbage);
  poke(0, std::span(garbage).first(2));
  EXPECT_EQ(link->received(0).state, Poll::State::kNotYet);
  EXPECT_TRUE(link->status().ok());
}

TEST_F(LyingVerbsPeer, SpeakingOnTheSilentSocket) {
  ASSERT_EQ(::send(end.get(), "x", 1, 0), 1);
  expectMismatch("it spoke on the silent socket");
}

TEST_F(LyingVerbsPeer, ThatIsGoneIsLost) {
  end.reset();
  const Status status = link->status();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kPeerLost);
}

/// A device whose driver says that it is gone. Soft-RoCE never does: `rdma link delete` waits for its users instead.
struct RemovedDevice : LyingVerbsPeer {
  static inline std::atomic<bool> removed{false};
  Library library;
  std::shared_ptr<Device> device;

  Port port() override {
    library = *verbs::library().value();
    library.get_async_event = [](ibv_context*, ibv_async_event* event) {
      event->event_type = IBV_EVENT_DEVICE_FATAL;
      return removed.exchange(false) ? 0 : -1;
    };
    library.ack_async_event = [](ibv_async_event*) {};
    Port port = LyingVerbsPeer::port();
    int count = 0;
    ibv_device** const devices = library.get_device_list(&count);
    port.device = device = Device::open(library, devices[0]).value();
    library.free_device_list(devices);
    return port;
  }
  void TearDown() override {
    link.reset();
    raw.reset();
    region = {};
    device.reset();
  }
};

TEST_F(RemovedDevice, EndsItsLinksAtOnceWithThePeersName) {
  EXPECT_TRUE(link->status().ok());
  removed = true;
  for (int look = 0; look < 2; ++look) {
    const Status status = link->status();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), ErrorCode::kPeerLost);
    EXPECT_EQ(status.error().scope(), ErrorScope::kLink);
    EXPECT_NE(status.error().message().find("rank 1 (liar) "), std::string::npos) << status.error().message();
    EXPECT_NE(status.error().message().find(library.event_type_str(IBV_EVENT_DEVICE_FATAL)), std::string::npos) << status.error().message();
  }
  EXPECT_FALSE(link->commit(0, 8).ok());
  EXPECT_EQ(link->received(0).state, Poll::State::kBroken);
  EXPECT_TRUE(raw->check()) << "all queue pairs of the device";
}

struct Reading : OnVerbsDevice {
  std::unique_ptr<World> world;
  std::vector<std::byte> source = std::vector<std::byte>(3 * 1024 * 1024 + 17);

  void SetUp() override {
    OnVerbsDevice::SetUp();
    if (IsSkipped()) return;
    for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 31 + (i >> 12));
    world = std::make_unique<World>(2, Wire::kVerbs, RingShape{512, 3});
  }
  VerbsConnection& link(int rank) { return static_cast<VerbsConnection&>(world->meshes[rank]->peer(1 - rank)); }
};

TEST_F(Reading, AnyRangeOfWhatThePeerOffers) {
  const OfferedMemory offered = link(1).offer(source).value();
  for (const auto& [offset, bytes] : {std::pair<size_t, size_t>{0, source.size()}, {5, 1}, {4095, 70'000}, {source.size(), 0}}) {
    std::vector<std::byte> got(bytes);
    const Status status = link(0).read(offered.remote(), offset, got, 30s, nullptr);
    ASSERT_TRUE(status.ok()) << status.error();
    ASSERT_TRUE(std::equal(got.begin(), got.end(), source.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
}

TEST_F(Reading, BeyondTheOfferIsRefusedAndHarmsNothing) {
  const OfferedMemory offered = link(1).offer(source).value();
  std::vector<std::byte> got(10);
  for (size_t offset : {source.size() - 9, source.size() + 1, ~size_t{0} - 3}) {
    const Status status = link(0).read(offered.remote(), offset, got, 30s, nullptr);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), ErrorCode::kInvalidInput);
  }
  EXPECT_TRUE(link(0).read(offered.remote(), source.size() - 10, got, 30s, nullptr).ok());
}

TEST_F(Reading, WhatIsNoLongerOfferedEndsTheLinkWithThePeersName) {
  RemoteMemory remote;
  { remote = link(1).offer(source).value().remote(); }
  std::vector<std::byte> got(10);
  const Status status = link(0).read(remote, 0, got, 30s, nullptr);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kMismatch);
  EXPECT_EQ(status.error().scope(), ErrorScope::kLink);
  EXPECT_NE(status.error().message().find("rank 1 (node1) cannot be read from: remote access error"), std::string::npos) << status.error().message();
  EXPECT_FALSE(link(0).status().ok());
}

TEST_F(Reading, ANewLinkWorksAfterABrokenOne) {
  RemoteMemory remote;
  { remote = link(1).offer(source).value().remote(); }
  std::vector<std::byte> got(10);
  ASSERT_FALSE(link(0).read(remote, 0, got, 30s, nullptr).ok());
  world.reset();
  world = std::make_unique<World>(2, Wire::kVerbs, RingShape{512, 3});
  const OfferedMemory offered = link(1).offer(source).value();
  EXPECT_TRUE(link(0).read(offered.remote(), 0, got, 30s, nullptr).ok());
}

}  // namespace
}  // namespace exo::transport::verbs
