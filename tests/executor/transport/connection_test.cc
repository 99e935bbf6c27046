// The ring of one link: order, credits, death, and peers that lie. The same cases over every transport.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <random>
#include <thread>

#include "executor/transport/shm_connection.h"
#include "executor/transport/tcp_connection.h"
#include "executor/transport/waiter.h"
#include "tests/executor/transport/links.h"

namespace exo::transport {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr RingShape kRing{512, 3};

template <class Condition>
bool eventually(Condition&& condition) {
  const auto deadline = Clock::now() + 5s;
  while (!condition())
    if (Clock::now() > deadline) return false;
  return true;
}

bool arrives(Connection& link) {
  return eventually([&] { return link.received(link.receiveSequence()).state == Poll::State::kArrived; });
}

bool breaks(Connection& link) {
  return eventually([&] {
    (void)link.status();  // shm learns of a death only by asking
    return link.received(link.receiveSequence()).state == Poll::State::kBroken;
  });
}

void sendBytes(Connection& link, const std::vector<uint8_t>& bytes) {
  const uint64_t seq = link.sendSequence();
  ASSERT_TRUE(eventually([&] { return link.canSend(seq); }));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(link.sendSlot(seq).data()));
  ASSERT_TRUE(link.commit(seq, bytes.size()).ok());
}

std::vector<uint8_t> receiveBytes(Connection& link) {
  EXPECT_TRUE(arrives(link));
  const std::span<const std::byte> slot = link.receiveSlot(link.receiveSequence());
  const auto* first = reinterpret_cast<const uint8_t*>(slot.data());
  const std::vector<uint8_t> bytes(first, first + slot.size());
  link.release(link.receiveSequence());
  return bytes;
}

std::vector<uint8_t> pattern(uint64_t seq, size_t size) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(seq * 131 + i * 7 + 3);
  return bytes;
}

class Link : public testing::TestWithParam<Wire> {
 protected:
  void SetUp() override {
    EXO_SKIP_WITHOUT(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Wires, Link, testing::Values(Wire::kShm, Wire::kTcp, Wire::kVerbs, Wire::kSimulated),
                         [](const auto& param) { return wireName(param.param); });

TEST_P(Link, SlotsAreAlignedAndNotOverrun) {
  World world(2, GetParam(), kRing);
  Connection& from = world.meshes[0]->peer(1);
  Connection& to = world.meshes[1]->peer(0);
  for (uint64_t seq = 0; seq < 3; ++seq) {
    ASSERT_TRUE(from.canSend(seq));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(from.sendSlot(seq).data()) % 64, 0u);
    EXPECT_EQ(from.sendSlot(seq).size(), 512u);
    sendBytes(from, pattern(seq, 512));
  }
  EXPECT_FALSE(from.canSend(3));
  EXPECT_EQ(from.sentBytes(), 3 * 512u);
  EXPECT_EQ(to.sentBytes(), 0u);
  for (uint64_t seq = 0; seq < 3; ++seq) {
    EXPECT_TRUE(arrives(to));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(to.receiveSlot(seq).data()) % 64, 0u);
    EXPECT_EQ(receiveBytes(to), pattern(seq, 512));
  }
  EXPECT_TRUE(eventually([&] { return from.canSend(3); }));
  EXPECT_EQ(to.received(3).state, Poll::State::kNotYet);
}

TEST_P(Link, ManyMessagesOfAnySizeBothWaysAtOnce) {
  World world(2, GetParam(), kRing);
  const int kMessages = GetParam() == Wire::kVerbs ? 600 : 3000;  // its device is emulated
  onThreads(2, [&](int rank) {
    Connection& link = world.meshes[rank]->peer(1 - rank);
    std::mt19937 mine(rank), theirs(1 - rank);
    int sent = 0, got = 0;
    const auto deadline = Clock::now() + 60s;
    while ((sent < kMessages || got < kMessages || !link.flushed()) && Clock::now() < deadline) {
      if (sent < kMessages && link.canSend(link.sendSequence())) sendBytes(link, pattern(sent++, mine() % 513));
      if (got < kMessages && link.received(link.receiveSequence()).state == Poll::State::kArrived) {
        ASSERT_EQ(receiveBytes(link), pattern(got, theirs() % 513));
        ++got;
      } else {
        std::this_thread::yield();
      }
    }
    EXPECT_EQ(sent, kMessages);
    EXPECT_EQ(got, kMessages);
  });
}

TEST_P(Link, WhatWasSentBeforeTheEndIsStillDelivered) {
  World world(2, GetParam(), kRing);
  Connection& to = world.meshes[1]->peer(0);
  sendBytes(world.meshes[0]->peer(1), pattern(0, 100));
  sendBytes(world.meshes[0]->peer(1), pattern(1, 0));
  if (GetParam() == Wire::kSimulated) world.network->kill(0);
  world.meshes[0].reset();
  ASSERT_TRUE(eventually([&] { return !to.status().ok(); }));
  EXPECT_EQ(to.status().error().code(), ErrorCode::kPeerLost);
  EXPECT_EQ(to.status().error().scope(), ErrorScope::kLink);
  EXPECT_NE(to.status().error().message().find("node0"), std::string::npos);
  EXPECT_EQ(receiveBytes(to), pattern(0, 100));
  EXPECT_EQ(receiveBytes(to), pattern(1, 0));
  EXPECT_TRUE(breaks(to));
  EXPECT_FALSE(to.commit(0, 10).ok());
}

TEST_P(Link, BytesStillOnTheWaySurviveTheClose) {
  // Far more than a socket's buffers hold at once, released by the peer only after the sender closed.
  const size_t bytes = GetParam() == Wire::kVerbs ? 3 << 19 : 4 << 20;  // its device is emulated; two requests each
  World world(2, GetParam(), RingShape{bytes, 4});
  std::thread sender([&] {
    for (uint64_t seq = 0; seq < 4; ++seq) sendBytes(world.meshes[0]->peer(1), pattern(seq, bytes));
    while (!world.meshes[0]->peer(1).flushed()) std::this_thread::yield();
    if (GetParam() != Wire::kSimulated) world.meshes[0].reset();
  });
  for (uint64_t seq = 0; seq < 4; ++seq) EXPECT_EQ(receiveBytes(world.meshes[1]->peer(0)), pattern(seq, bytes));
  sender.join();
}

// ---- A TCP peer that lies: raw bytes into a connection.

struct RawTcp {
  FileDescriptor raw;
  std::unique_ptr<Connection> link;

  RawTcp() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    raw = FileDescriptor(fds[0]);
    link = TcpConnection::create(1, "liar", kRing, FileDescriptor(fds[1])).value();
  }
  void put(const FrameHeader& header) { put(&header, sizeof(header)); }
  void put(const void* data, size_t size) { EXPECT_EQ(::send(raw.get(), data, size, 0), static_cast<ssize_t>(size)); }
  void expectBroken(ErrorCode code, const std::string& why) {
    EXPECT_TRUE(breaks(*link));
    ASSERT_FALSE(link->status().ok());
    EXPECT_EQ(link->status().error().code(), code);
    EXPECT_NE(link->status().error().message().find(why), std::string::npos) << link->status().error().message();
    EXPECT_NE(link->status().error().message().find("liar"), std::string::npos);
  }
};

FrameHeader dataHeader(uint64_t sequence, uint64_t bytes) {
  FrameHeader header;
  header.sequence = sequence;
  header.bytes = bytes;
  return header;
}

TEST(LyingTcpPeer, WrongMagic) {
  RawTcp peer;
  FrameHeader header = dataHeader(0, 4);
  header.magic = 0;
  peer.put(header);
  peer.expectBroken(ErrorCode::kMismatch, "a frame begins with 0");
}

TEST(LyingTcpPeer, UnknownType) {
  RawTcp peer;
  FrameHeader header = dataHeader(0, 4);
  header.type = 9;
  peer.put(header);
  peer.expectBroken(ErrorCode::kMismatch, "frame type 9");
}

TEST(LyingTcpPeer, LongerThanASlot) {
  for (uint64_t bytes : {uint64_t{513}, ~uint64_t{0}}) {
    RawTcp peer;
    peer.put(dataHeader(0, bytes));
    peer.expectBroken(ErrorCode::kMismatch, "for slots of 512 B");
  }
}

TEST(LyingTcpPeer, SkippedSequence) {
  RawTcp peer;
  peer.put(dataHeader(1, 4));
  peer.expectBroken(ErrorCode::kMismatch, "message 0 expected, got 1");
}

TEST(LyingTcpPeer, ReleasedWhatWasNeverSent) {
  RawTcp peer;
  FrameHeader header = dataHeader(0, 0);
  header.released = 1;
  peer.put(header);
  peer.expectBroken(ErrorCode::kMismatch, "released 1 messages of 0");
}

TEST(LyingTcpPeer, MoreMessagesThanSlots) {
  RawTcp peer;
  for (uint64_t seq = 0; seq < 4; ++seq) peer.put(dataHeader(seq, 0));
  EXPECT_TRUE(eventually([&] { return !peer.link->status().ok(); }));
  for (uint64_t seq = 0; seq < 3; ++seq) EXPECT_TRUE(receiveBytes(*peer.link).empty());
  peer.expectBroken(ErrorCode::kMismatch, "more messages than slots");
}

TEST(LyingTcpPeer, TruncatedFrame) {
  for (size_t size : {size_t{1}, size_t{31}, size_t{32}, size_t{40}}) {
    RawTcp peer;
    std::vector<uint8_t> frame(64);
    const FrameHeader header = dataHeader(0, 32);
    std::memcpy(frame.data(), &header, sizeof(header));
    peer.put(frame.data(), size);
    peer.raw.reset();
    peer.expectBroken(ErrorCode::kPeerLost, "in the middle of a message");
  }
}

TEST(LyingTcpPeer, RandomBytesNeverCrash) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    RawTcp peer;
    std::vector<uint8_t> bytes(random() % 4096);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    // Some begin well, to get deeper.
    const FrameHeader header = dataHeader(0, random() % 600);
    if (round % 2 == 0 && bytes.size() > sizeof(header)) std::memcpy(bytes.data(), &header, sizeof(header));
    peer.put(bytes.data(), bytes.size());
    peer.raw.reset();
    EXPECT_TRUE(eventually([&] { return !peer.link->status().ok(); }));
  }
}

TEST(LyingTcpPeer, DribbledFramesAreWhole) {
  RawTcp peer;
  const std::vector<uint8_t> payload = pattern(0, 100);
  const FrameHeader header = dataHeader(0, 100);
  std::vector<uint8_t> frame(sizeof(header) + 100);
  std::memcpy(frame.data(), &header, sizeof(header));
  std::memcpy(frame.data() + sizeof(header), payload.data(), 100);
  for (uint8_t byte : frame) {
    EXPECT_EQ(peer.link->received(0).state, Poll::State::kNotYet);
    peer.put(&byte, 1);
  }
  EXPECT_EQ(receiveBytes(*peer.link), payload);
}

// ---- A shared memory peer that lies: it writes what it likes into the windows.

struct RawShm {
  FileDescriptor raw;
  Mapping memory;
  std::unique_ptr<Connection> link;

  RawShm() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    raw = FileDescriptor(fds[0]);
    const size_t size = ShmConnection::memoryBytes(kRing);
    const FileDescriptor fd = createSharedMemory(size).value();
    EXPECT_TRUE(checkSharedMemory(fd, size).ok());
    EXPECT_FALSE(checkSharedMemory(fd, size + 1).ok());
    EXPECT_NE(ftruncate(fd.get(), 0), 0) << "sealed memory shrank";
    memory = Mapping::shared(fd, size).value();
    link = std::make_unique<ShmConnection>(1, "liar", kRing, End::kDialer, FileDescriptor(fds[1]),
                                           Mapping::shared(fd, size).value());
  }
  /// The dialer's window comes first: credit at 0, flags of 128 bytes from 128.
  void poke(size_t offset, uint64_t value) { std::memcpy(memory.data() + offset, &value, sizeof(value)); }
  void expectMismatch(const std::string& why) {
    const Status status = link->status();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), ErrorCode::kMismatch);
    EXPECT_NE(status.error().message().find(why), std::string::npos) << status.error().message();
  }
};

TEST(LyingShmPeer, LongerThanASlot) {
  RawShm peer;
  peer.poke(128 + 8, 513);
  peer.poke(128, 1);
  EXPECT_EQ(peer.link->received(0).state, Poll::State::kBroken);
  peer.expectMismatch("513 B in slots of 512");
}

TEST(LyingShmPeer, SkippedSequence) {
  RawShm peer;
  peer.poke(128, 4);  // slot 0 holds messages 0, 3, ...
  EXPECT_EQ(peer.link->received(0).state, Poll::State::kBroken);
  peer.expectMismatch("message 0 expected, got 3");
}

TEST(LyingShmPeer, ReleasedWhatWasNeverSent) {
  RawShm peer;
  for (uint64_t seq = 0; seq < 3; ++seq) sendBytes(*peer.link, {});
  peer.poke(ShmConnection::memoryBytes(kRing) / 2, 9);
  EXPECT_FALSE(peer.link->canSend(3));
  peer.expectMismatch("released 9 messages of 3");
}

TEST(LyingShmPeer, ForeignMemoryIsRefused) {
  const FileDescriptor none;
  EXPECT_FALSE(checkSharedMemory(none, 4096).ok());
  FileDescriptor unsealed(memfd_create("unsealed", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(unsealed.get(), 4096), 0);
  const Status status = checkSharedMemory(unsealed, 4096);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message().find("not sealed"), std::string::npos);
}

// ---- Waiting.

TEST(Waiter, EndsAtItsDeadlineAndHardlyUsesTheProcessor) {
  const auto begin = Clock::now();
  const std::clock_t cpu_begin = std::clock();
  SpinBudget budget;
  Waiter waiter(600ms, nullptr, budget);
  int checks = 0;
  Waiter::Verdict verdict;
  while ((verdict = waiter.pause()) != Waiter::Verdict::kTimeout) checks += verdict == Waiter::Verdict::kCheckPeers;
  EXPECT_GE(Clock::now() - begin, 600ms);
  EXPECT_GT(checks, 100);
  // 50 ms of spinning and yielding, then naps.
  EXPECT_LT(static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC, 0.3);
}

TEST(Waiter, SpinsLessWhenSpinningWasInVain) {
  SpinBudget budget;
  for (int i = 0; i < 10; ++i) {
    Waiter waiter(60s, nullptr, budget);
    const auto begin = Clock::now();
    while (Clock::now() - begin < 1ms) (void)waiter.pause();
    waiter.restart();
  }
  EXPECT_EQ(budget.time, SpinBudget::kLeast);
}

TEST(Waiter, ObeysTheCancelFlag) {
  std::atomic<bool> cancel{true};
  Waiter waiter(60s, &cancel);
  EXPECT_EQ(waiter.pause(), Waiter::Verdict::kCancelled);
}

}  // namespace
}  // namespace exo::transport
