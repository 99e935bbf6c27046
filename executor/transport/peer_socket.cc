#include "executor/transport/peer_socket.h"

#include <cerrno>

namespace exo::transport {

PeerSocket::State PeerSocket::state() const {
  char byte = 0;
  const ssize_t got = recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got > 0) return State::kSpoke;
  return got < 0 && (errno == EAGAIN || errno == EINTR) ? State::kSilent : State::kEnded;
}

}  // namespace exo::transport
