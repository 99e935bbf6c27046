// What of verbs needs no device: choosing ports, and the names of devices.
#include <gtest/gtest.h>

#include "executor/transport/verbs/path.h"

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

}  // namespace
}  // namespace exo::transport::verbs
