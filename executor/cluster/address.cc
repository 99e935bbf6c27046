#include "executor/cluster/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <charconv>
#include <memory>

namespace exo::cluster {
namespace {

bool isV6(const std::string& host) { return host.find(':') != std::string::npos; }

Error badAddress(std::string_view text, const char* why) {
  return invalid("address \"", text, "\": ", why, "; expected host:port, as in 192.168.1.10:52416, desk:52416 or [::1]:52416");
}

}  // namespace

std::string Address::text() const {
  return (isV6(host) ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> parseAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return badAddress(text, "no port");
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return badAddress(text, "an IPv6 address needs brackets");
  }
  if (host.empty()) return badAddress(text, "no host");
  if (host.size() > 253 || host.find_first_of(" \t\r\n/[]%,") != std::string_view::npos) return badAddress(text, "not a host name");
  Address address{std::string(host), 0};
  const auto [end, error] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), address.port);
  if (error != std::errc() || end != port_text.data() + port_text.size()) {
    return badAddress(text, "the port is not a number up to 65535");
  }
  return address;
}

Result<Address> resolve(const Address& address) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int failure = ::getaddrinfo(address.host.c_str(), nullptr, &hints, &raw);
  if (failure != 0 || raw == nullptr) {
    return makeError(ErrorCode::kNotFound, "cannot find host \"", address.host, "\": ", ::gai_strerror(failure));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> found(raw, ::freeaddrinfo);
  // IPv4 first: that is what people's plans name, and both families of a name are the same machine.
  const addrinfo* chosen = found.get();
  for (const addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    if (each->ai_family == AF_INET) {
      chosen = each;
      break;
    }
  }
  char literal[INET6_ADDRSTRLEN] = {};
  if (::getnameinfo(chosen->ai_addr, chosen->ai_addrlen, literal, sizeof literal, nullptr, 0, NI_NUMERICHOST) != 0) {
    return makeError(ErrorCode::kNotFound, "host \"", address.host, "\" has no usable address");
  }
  return Address{literal, address.port};
}

bool isLoopback(const std::string& literal) {
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET, literal.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return ::inet_pton(AF_INET6, literal.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool isUnspecified(const std::string& literal) {
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET, literal.c_str(), &v4) == 1) return v4.s_addr == 0;
  return ::inet_pton(AF_INET6, literal.c_str(), &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6);
}

std::string grpcTarget(const Address& address) {
  return (isV6(address.host) ? "ipv6:" : "ipv4:") + address.text();
}

}  // namespace exo::cluster
