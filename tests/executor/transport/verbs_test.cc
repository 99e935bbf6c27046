// What of verbs needs no device: choosing ports, the names of devices, records, and agreeing to do without.
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <optional>

#include "executor/transport/verbs/negotiation.h"
#include "executor/transport/verbs/path.h"
#include "executor/transport/verbs/record.h"

namespace exo::transport::verbs {
namespace {

Path ethernet(const std::string& address, uint32_t mbit_per_s, uint32_t on_tcp_route = 0) {
  return {gidOf(*tcpAddress(address, 1)), Path::kEthernet, 0, mbit_per_s, on_tcp_route};
}

Path infiniBand(uint8_t subnet, uint32_t lid) {
  Path path{{}, Path::kInfiniBand, lid, 100'000, 0};
  path.gid[7] = subnet;
  path.gid[15] = static_cast<uint8_t>(lid);
  return path;
}

using Pair = std::pair<size_t, size_t>;

void expectPair(const Paths& mine, const Paths& theirs, Pair pair) {
  EXPECT_EQ(choosePair(mine, theirs), pair);
  EXPECT_EQ(choosePair(theirs, mine), (Pair{pair.second, pair.first}));
}

TEST(ChoosePair, NeedsOneLinkLayerAndOneFamilyOfAddresses) {
  EXPECT_EQ(choosePair({}, {}), std::nullopt);
  EXPECT_EQ(choosePair({ethernet("10.0.0.1", 1)}, {infiniBand(1, 7)}), std::nullopt);
  EXPECT_EQ(choosePair({ethernet("10.0.0.1", 1)}, {ethernet("fe80::2", 1)}), std::nullopt);
  EXPECT_EQ(choosePair({ethernet("2001:db8::1", 1)}, {ethernet("fe80::2", 1)}), std::nullopt);
  expectPair({ethernet("fe80::1", 1), ethernet("10.0.0.1", 1)}, {ethernet("10.0.0.2", 1)}, {1, 0});
}

TEST(ChoosePair, NeedsOneSubnetOfInfiniBand) {
  EXPECT_EQ(choosePair({infiniBand(1, 7)}, {infiniBand(2, 8)}), std::nullopt);
  expectPair({infiniBand(1, 7), infiniBand(2, 9)}, {infiniBand(2, 8)}, {1, 0});
}

TEST(ChoosePair, TakesALinkLocalAddressOnlyWhereThereIsNoOther) {
  expectPair({ethernet("fe80::1", 1), ethernet("10.0.0.1", 1)}, {ethernet("fe80::1", 1), ethernet("10.9.0.2", 1)}, {1, 1});
  expectPair({ethernet("fe80::1", 1), ethernet("10.0.0.1", 1)}, {ethernet("fe80::1", 1)}, {0, 0});
}

TEST(ChoosePair, TakesTheFastestThenTheRouteOfTcpThenTheMostSimilarAddresses) {
  expectPair({ethernet("10.0.0.1", 10'000, 1), ethernet("10.1.0.1", 100'000)}, {ethernet("10.0.0.2", 10'000, 1), ethernet("10.1.0.2", 100'000)}, {1, 1});
  expectPair({ethernet("10.0.0.1", 10'000), ethernet("10.1.0.1", 10'000, 1)}, {ethernet("10.0.0.2", 10'000), ethernet("10.1.0.2", 10'000, 1)}, {1, 1});
  expectPair({ethernet("10.0.0.1", 10'000), ethernet("10.1.0.1", 10'000)}, {ethernet("10.1.0.2", 10'000), ethernet("172.16.0.2", 10'000)}, {1, 0});
}

TEST(Gid, IsTextOfTheAddressItWasMadeOf) {
  for (const char* address : {"10.0.0.7", "fe80::1", "2001:db8::5"}) EXPECT_EQ(text(gidOf(*tcpAddress(address, 1))), address);
}

TEST(DeviceChoice, IsANameAPortAndAGidIndex) {
  EXPECT_TRUE(parseDeviceChoice("")->name.empty());
  const DeviceChoice all = *parseDeviceChoice("mlx5_0:2:3");
  EXPECT_EQ(all.name, "mlx5_0");
  EXPECT_EQ(all.port, 2);
  EXPECT_EQ(all.gid_index, 3);
  EXPECT_EQ(parseDeviceChoice("rxe0")->port, std::nullopt);
  EXPECT_EQ(parseDeviceChoice("rxe0:1")->gid_index, std::nullopt);
  for (const char* wrong : {":1", "rxe0:", "rxe0:x", "rxe0:256", "rxe0:1:", "rxe0:1:2:3", "rxe0:-1"}) EXPECT_FALSE(parseDeviceChoice(wrong).ok()) << wrong;
}

TEST(Record, IsThereWhenItIsWholeOnly) {
  Record<4> memory = {};
  EXPECT_FALSE(readRecord(memory));
  const Record<4> before = sealed<4>({8, 100, 3}), after = sealed<4>({12, 70, 5});
  // Any mixture of the words of two records; all of one is that one.
  for (unsigned taken = 0; taken < 16; ++taken) {
    for (size_t i = 0; i < 4; ++i) memory[i] = (taken >> i & 1) != 0 ? after[i] : before[i];
    EXPECT_EQ(readRecord(memory).has_value(), taken == 0 || taken == 15) << taken;
  }
  // And of their bytes, in either order.
  for (size_t bytes = 0; bytes <= sizeof(memory); ++bytes) {
    memory = before;
    std::memcpy(memory.data(), after.data(), bytes);
    EXPECT_EQ(readRecord(memory).has_value(), memory == before || memory == after) << bytes;
    memory = after;
    std::memcpy(memory.data(), before.data(), bytes);
    EXPECT_EQ(readRecord(memory).has_value(), memory == before || memory == after) << bytes;
  }
}

/// Both ends of a negotiation between ranks without ports, until both have ended.
struct Negotiated {
  using Demand = Negotiation::Demand;
  std::array<std::optional<Result<Negotiation::Progress>>, 2> ends;
  std::array<std::string, 2> whys;

  Negotiated(Demand demand0, Demand demand1, const std::string& key1 = "key") {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    const FileDescriptor sockets[] = {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
    const LocalPorts ports[] = {{{}, "no device"}, {{}, "no library"}};
    const auto authenticate = [](const std::string& key) {
      return [key](std::string_view label, std::span<const std::byte> bytes) {
        Mac mac = {};
        const size_t hash = std::hash<std::string>()(key + std::string(label) + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
        std::memcpy(mac.data(), &hash, sizeof(hash));
        return mac;
      };
    };
    Negotiation dialer(End::kDialer, ports[0], demand0, authenticate("key"), 1, "node1", {});
    Negotiation listener(End::kListener, ports[1], demand1, authenticate(key1), 0, "node0", {});
    Negotiation* const both[] = {&dialer, &listener};
    for (int round = 0; round < 10; ++round)
      for (size_t i = 0; i < 2; ++i)
        if (!ends[i]) {
          auto progress = both[i]->advance(sockets[i]);
          if (!progress.ok() || *progress != Negotiation::Progress::kPending) ends[i].emplace(std::move(progress));
          whys[i] = both[i]->why();
        }
  }
};

TEST(Negotiation, WithoutPortsBothKnowWhyNot) {
  const Negotiated done(Negotiated::Demand::kNo, Negotiated::Demand::kNo);
  for (const auto& end : done.ends) {
    ASSERT_TRUE(end && end->ok());
    EXPECT_EQ(**end, Negotiation::Progress::kWithout);
  }
  EXPECT_EQ(done.whys[0], "no verbs: no device; at node1: no library");
  EXPECT_EQ(done.whys[1], "no verbs: no library; at node0: no device");
}

TEST(Negotiation, ADemandOfOneSideIsAnErrorOnBoth) {
  const Negotiated done(Negotiated::Demand::kNo, Negotiated::Demand::kYes);
  for (const auto& end : done.ends) {
    ASSERT_TRUE(end && !end->ok());
    EXPECT_EQ(end->error().code(), ErrorCode::kMismatch);
    EXPECT_NE(end->error().message().find("verbs is demanded, but not possible: no "), std::string::npos) << end->error();
  }
}

TEST(Negotiation, AForgedMessageEndsIt) {
  const Negotiated done(Negotiated::Demand::kNo, Negotiated::Demand::kNo, "another key");
  for (const auto& end : done.ends) {
    ASSERT_TRUE(end && !end->ok());
    EXPECT_EQ(end->error().code(), ErrorCode::kMismatch);
    EXPECT_NE(end->error().message().find("forged"), std::string::npos) << end->error();
  }
}

}  // namespace
}  // namespace exo::transport::verbs
