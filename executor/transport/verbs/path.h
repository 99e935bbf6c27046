// Ways into the fabric: what a rank tells about one of its ports, and which pair of ports two ranks use.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "executor/transport/socket.h"
#include "ir/base/result.h"

namespace exo::transport::verbs {

using Gid = std::array<uint8_t, 16>;

/// One port by one of its addresses, on the wire as it is here. All zero: none.
struct Path {
  static constexpr uint32_t kInfiniBand = 1, kEthernet = 2;  // as in ibv_port_attr::link_layer
  Gid gid = {};
  uint32_t link_layer = 0;
  uint32_t lid = 0;             // InfiniBand
  uint32_t mbit_per_s = 0;
  uint32_t on_tcp_route = 0;    // 1: `gid` is the very address by which the peer reached us over TCP
};

constexpr size_t kMaxPaths = 8;
using Paths = std::array<Path, kMaxPaths>;

/// Which of `mine` and which of `theirs` reach each other: of one link layer; Ethernet: addresses of one family;
/// InfiniBand: of one subnet. Of several pairs the fastest, then those on the route of TCP, then any but link-local ones, then
/// the most similar addresses.
/// The same pair whoever asks. Whether packets really pass is for a probe to say.
std::optional<std::pair<size_t, size_t>> choosePair(const Paths& mine, const Paths& theirs);

/// ::ffff:10.0.0.1 for IPv4.
Gid gidOf(const SocketAddress& address);
/// "10.0.0.1", "fe80::1"
std::string text(const Gid& gid);

/// "name[:port[:gid index]]"; an empty text chooses nothing.
struct DeviceChoice {
  std::string name;
  std::optional<uint8_t> port;
  std::optional<uint8_t> gid_index;
};
Result<DeviceChoice> parseDeviceChoice(std::string_view text);

}  // namespace exo::transport::verbs
