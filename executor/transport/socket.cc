#include "executor/transport/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>

namespace exo::transport {
namespace {

constexpr int kFlags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
constexpr int kBacklog = 128;

void setOption(int fd, int level, int option, int value) { (void)setsockopt(fd, level, option, &value, sizeof(value)); }

template <class Address>
SocketAddress wrap(const Address& address, size_t length = sizeof(Address)) {
  SocketAddress out;
  std::memcpy(&out.storage, &address, length);
  out.length = static_cast<socklen_t>(length);
  return out;
}

}  // namespace

std::string errnoText(int error) { return std::generic_category().message(error); }

Result<SocketAddress> tcpAddress(const std::string& literal, uint16_t port) {
  sockaddr_in v4 = {};
  if (inet_pton(AF_INET, literal.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    return wrap(v4);
  }
  sockaddr_in6 v6 = {};
  if (inet_pton(AF_INET6, literal.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    return wrap(v6);
  }
  return invalid("address must be an IPv4 or IPv6 literal, got \"", literal.substr(0, 100), "\"");
}

Result<SocketAddress> abstractAddress(const std::string& name) {
  constexpr size_t kMaxName = 100;
  if (name.empty() || name.size() > kMaxName)
    return invalid("name of a local socket must have 1 to ", kMaxName, " bytes, got ", name.size());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return wrap(address, offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

Result<FileDescriptor> listenOn(const SocketAddress& address, const std::string& what) {
  FileDescriptor fd(socket(address.storage.ss_family, kFlags, 0));
  if (!fd) return makeError(ErrorCode::kIo, "cannot open a socket for ", what, ": ", errnoText(errno));
  if (address.storage.ss_family != AF_UNIX) setOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd.get(), address.get(), address.length) != 0 || listen(fd.get(), kBacklog) != 0)
    return makeError(ErrorCode::kIo, "cannot listen on ", what, ": ", errnoText(errno));
  return fd;
}

SocketAddress localAddress(const FileDescriptor& socket) {
  SocketAddress address;
  address.length = sizeof(address.storage);
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return {};
  return address;
}

Result<uint16_t> boundPort(const FileDescriptor& socket) {
  const SocketAddress address = localAddress(socket);
  if (address.length == 0) return makeError(ErrorCode::kIo, "getsockname: ", errnoText(errno));
  const bool v6 = address.storage.ss_family == AF_INET6;
  return ntohs(v6 ? reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port
                  : reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
}

Dial startDial(const SocketAddress& address) {
  Dial dial;
  dial.socket = FileDescriptor(socket(address.storage.ss_family, kFlags, 0));
  if (!dial.socket) return {FileDescriptor(), errno};
  if (connect(dial.socket.get(), address.get(), address.length) == 0 || errno == EINPROGRESS) return dial;
  return {FileDescriptor(), errno};
}

int connectError(const FileDescriptor& socket) {
  int error = 0;
  socklen_t length = sizeof(error);
  return getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

void tuneTcp(const FileDescriptor& socket) {
  const int fd = socket.get();
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // A host that vanished sends no FIN: probe an idle link, and give up on unacknowledged bytes, both within 10 s.
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 4);
  setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
  setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 10'000);
}

std::string remoteName(const FileDescriptor& socket) {
  SocketAddress address;
  address.length = sizeof(address.storage);
  if (getpeername(socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return "unknown";
  char text[INET6_ADDRSTRLEN] = {};
  if (address.storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  }
  if (address.storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
  }
  return "a local process";
}

}  // namespace exo::transport
