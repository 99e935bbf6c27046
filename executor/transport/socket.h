// Sockets as far as the transports need them: owned descriptors, non-blocking and close-on-exec throughout.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "ir/base/file_descriptor.h"
#include "ir/base/result.h"

namespace exo::transport {

/// A socket address of any family.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// An IPv4 or IPv6 literal; names are not looked up. kInvalidInput otherwise.
Result<SocketAddress> tcpAddress(const std::string& literal, uint16_t port);
/// An abstract Unix socket. kInvalidInput for a name that is empty or longer than 100 bytes.
Result<SocketAddress> abstractAddress(const std::string& name);

/// kIo naming `what`, the address being bound.
Result<FileDescriptor> listenOn(const SocketAddress& address, const std::string& what);
Result<uint16_t> boundPort(const FileDescriptor& socket);

/// Starts connecting. The caller polls for writability and then asks connectError(); 0 is connected.
/// An errno that came at once (ECONNREFUSED on Unix sockets) is returned in `error` and no descriptor.
struct Dial {
  FileDescriptor socket;
  int error = 0;
};
Dial startDial(const SocketAddress& address);
int connectError(const FileDescriptor& socket);

/// Our end of a connection; zero family when there is none.
SocketAddress localAddress(const FileDescriptor& socket);

/// No Nagle delay; dead hosts are noticed within about ten seconds. Failures are harmless and ignored.
void tuneTcp(const FileDescriptor& socket);

/// "127.0.0.1:4711", "[::1]:4711" or "a local process".
std::string remoteName(const FileDescriptor& socket);
std::string errnoText(int error);

}  // namespace exo::transport
