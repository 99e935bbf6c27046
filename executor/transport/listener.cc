#include "executor/transport/listener.h"

#include <openssl/rand.h>

#include <array>
#include <charconv>
#include <fstream>

namespace exo::transport {
namespace {

Result<std::string> randomName() {
  std::array<unsigned char, 16> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return makeError(ErrorCode::kIo, "no random bytes from OpenSSL");
  std::string name = "exo-";
  for (unsigned char byte : bytes) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return name;
}

/// Empty where the kernel does not tell: then no peer is on the same host.
std::string bootId() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

Result<uint16_t> parsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0)
    return invalid("port must be a number in [1, 65535], got \"", text.substr(0, 20), "\"");
  return port;
}

}  // namespace

std::string Endpoint::text() const {
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port) + "/" + boot_id + "/" + unix_name;
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
  constexpr size_t kMaxText = 300;
  const auto wrong = [&] {
    return invalid("endpoint must be \"address:port/boot_id/unix_name\", got \"", text.substr(0, kMaxText), "\"");
  };
  const size_t first = text.find('/');
  const size_t second = first == text.npos ? text.npos : text.find('/', first + 1);
  if (text.size() > kMaxText || second == text.npos || text.find('/', second + 1) != text.npos) return wrong();
  const std::string_view host = text.substr(0, first);
  const size_t colon = host.rfind(':');
  if (colon == host.npos) return wrong();
  std::string_view address = host.substr(0, colon);
  if (address.size() >= 2 && address.front() == '[' && address.back() == ']') address = address.substr(1, address.size() - 2);
  Endpoint out;
  out.address = address;
  out.boot_id = text.substr(first + 1, second - first - 1);
  out.unix_name = text.substr(second + 1);
  EXO_ASSIGN(out.port, parsePort(host.substr(colon + 1)));
  EXO_TRY(tcpAddress(out.address, out.port));
  if (!out.unix_name.empty()) EXO_TRY(abstractAddress(out.unix_name));
  return out;
}

Result<Listener> Listener::open(const std::string& address, uint16_t port) {
  EXO_ASSIGN(const SocketAddress tcp_address, tcpAddress(address, port));
  EXO_ASSIGN(FileDescriptor tcp, listenOn(tcp_address, address + " port " + std::to_string(port)));
  Endpoint endpoint;
  endpoint.address = address;
  EXO_ASSIGN(endpoint.port, boundPort(tcp));
  EXO_ASSIGN(endpoint.unix_name, randomName());
  endpoint.boot_id = bootId();
  EXO_ASSIGN(const SocketAddress unix_address, abstractAddress(endpoint.unix_name));
  EXO_ASSIGN(FileDescriptor unix_socket, listenOn(unix_address, "abstract socket " + endpoint.unix_name));
  return Listener(std::move(endpoint), std::move(tcp), std::move(unix_socket));
}

}  // namespace exo::transport
