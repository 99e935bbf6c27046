// The socket over which two ranks met, once tensors travel otherwise: open and silent. Its end is the peer's death, however
// it died; on TCP the kernel's keepalive notices a host that vanished.
#pragma once

#include <utility>

#include "executor/transport/socket.h"

namespace exo::transport {

class PeerSocket {
 public:
  enum class State { kSilent, kSpoke, kEnded };

  PeerSocket() = default;
  explicit PeerSocket(FileDescriptor socket) : socket_(std::move(socket)) {}
  /// One system call.
  State state() const;

 private:
  FileDescriptor socket_;
};

}  // namespace exo::transport
