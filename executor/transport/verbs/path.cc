#include "executor/transport/verbs/path.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <tuple>

namespace exo::transport::verbs {
namespace {

enum class Family { kIpv4, kLinkLocal, kIpv6 };

Family familyOf(const Gid& gid) {
  constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), gid.begin())) return Family::kIpv4;
  return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80 ? Family::kLinkLocal : Family::kIpv6;
}

bool compatible(const Path& a, const Path& b) {
  if (a.link_layer != b.link_layer) return false;
  if (a.link_layer == Path::kInfiniBand) return std::equal(a.gid.begin(), a.gid.begin() + 8, b.gid.begin());
  return a.link_layer == Path::kEthernet && familyOf(a.gid) == familyOf(b.gid);
}

/// A link-local address is unusable for the seconds in which the system makes sure that nobody else has it.
bool settled(const Path& path) { return path.link_layer != Path::kEthernet || familyOf(path.gid) != Family::kLinkLocal; }

int commonBits(const Gid& a, const Gid& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (const uint8_t differing = a[i] ^ b[i]; differing != 0) return static_cast<int>(8 * i) + std::countl_zero(differing);
  return 8 * static_cast<int>(a.size());
}

Result<uint8_t> number(std::string_view what, std::string_view digits) {
  uint8_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size())
    return invalid("RDMA device: ", what, " must be a number in [0, 255], got \"", digits.substr(0, 20), "\"");
  return value;
}

}  // namespace

std::optional<std::pair<size_t, size_t>> choosePair(const Paths& mine, const Paths& theirs) {
  std::optional<std::pair<size_t, size_t>> best;
  // The addresses last: no ties, so that both sides choose alike.
  const auto score = [&](size_t i, size_t j) {
    const Path &a = mine[i], &b = theirs[j];
    return std::tuple(std::min(a.mbit_per_s, b.mbit_per_s), a.on_tcp_route + b.on_tcp_route, settled(a), commonBits(a.gid, b.gid),
                      std::max(b.gid, a.gid), std::min(b.gid, a.gid));
  };
  for (size_t i = 0; i < kMaxPaths; ++i)
    for (size_t j = 0; j < kMaxPaths; ++j)
      if (compatible(mine[i], theirs[j]) && (!best || score(i, j) > score(best->first, best->second))) best = {i, j};
  return best;
}

Gid gidOf(const SocketAddress& address) {
  Gid gid = {};
  if (address.storage.ss_family == AF_INET) {
    gid[10] = gid[11] = 0xff;
    std::memcpy(gid.data() + 12, &reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr, 4);
  } else if (address.storage.ss_family == AF_INET6) {
    std::memcpy(gid.data(), &reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr, gid.size());
  }
  return gid;
}

std::string text(const Gid& gid) {
  char out[INET6_ADDRSTRLEN] = {};
  if (familyOf(gid) == Family::kIpv4) {
    inet_ntop(AF_INET, gid.data() + 12, out, sizeof(out));
  } else {
    inet_ntop(AF_INET6, gid.data(), out, sizeof(out));
  }
  return out;
}

Result<DeviceChoice> parseDeviceChoice(std::string_view text) {
  constexpr size_t kMaxName = 63;
  DeviceChoice out;
  const size_t first = text.find(':');
  out.name = text.substr(0, first);
  if (out.name.size() > kMaxName || (out.name.empty() && !text.empty()))
    return invalid("RDMA device must be \"name[:port[:gid index]]\", got \"", text.substr(0, 100), "\"");
  if (first == text.npos) return out;
  const size_t second = text.find(':', first + 1);
  EXO_ASSIGN(out.port, number("the port", text.substr(first + 1, second - first - 1)));
  if (second == text.npos) return out;
  EXO_ASSIGN(out.gid_index, number("the GID index", text.substr(second + 1)));
  return out;
}

}  // namespace exo::transport::verbs
