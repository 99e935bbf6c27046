// Where the other ranks reach this one: a TCP port and, for ranks on the same host, an abstract Unix socket (which leaves
// nothing in the file system). Opened first, so that the endpoint can be published before anyone connects.
// Threads: none of its own; owned by one thread, handed to Mesh::connect.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "executor/transport/socket.h"
#include "ir/base/result.h"

namespace exo::transport {

/// What a rank publishes about itself. Text form: "address:port/boot_id/unix_name" ("[v6]:port/..." for IPv6).
struct Endpoint {
  std::string address;    // IPv4 or IPv6 literal
  uint16_t port = 0;
  std::string boot_id;    // of the host's kernel: equal on one host
  std::string unix_name;  // abstract socket, without the leading zero byte

  std::string text() const;
  /// kInvalidInput for a text that text() did not make.
  static Result<Endpoint> parse(std::string_view text);
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

class Listener {
 public:
  /// `address`: the literal to bind to, "127.0.0.1" unless told; port 0 takes a free one. kIo when it cannot be bound.
  /// Whoever binds to all addresses ("0.0.0.0") puts a reachable one into the endpoint before publishing it.
  static Result<Listener> open(const std::string& address = "127.0.0.1", uint16_t port = 0);

  uint16_t port() const { return endpoint_.port; }
  const Endpoint& endpoint() const { return endpoint_; }
  int tcpFd() const { return tcp_.get(); }
  int unixFd() const { return unix_.get(); }

 private:
  Listener(Endpoint endpoint, FileDescriptor tcp, FileDescriptor unix_socket)
      : endpoint_(std::move(endpoint)), tcp_(std::move(tcp)), unix_(std::move(unix_socket)) {}
  Endpoint endpoint_;
  FileDescriptor tcp_;
  FileDescriptor unix_;
};

}  // namespace exo::transport
