#include "executor/transport/handshake.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

#include "executor/transport/tcp_connection.h"

namespace exo::transport {
namespace {

template <class Message>
std::span<const std::byte> bytesOf(const Message& message) {
  return std::as_bytes(std::span(&message, 1));
}

Error lost(const std::string& why) { return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, why); }

/// Keeps the one descriptor that may travel with a message, closes any other.
void takeDescriptors(msghdr& message, FileDescriptor& keep) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      keep = FileDescriptor(fd);  // the one before is closed
    }
  }
}

}  // namespace

Handshake Handshake::dialer(FileDescriptor socket, const SessionKey& key, const Claims& claims, std::string peer_name,
                            VerbsTerms verbs) {
  Handshake out(std::move(socket), key, State::kConnecting);
  out.hello_.claims = claims;
  out.hello_known_ = true;
  out.peer_name_ = std::move(peer_name);
  out.verbs_ = verbs;
  return out;
}

Handshake Handshake::listener(FileDescriptor socket, const SessionKey& key, Kind kind, Judge judge) {
  Handshake out(std::move(socket), key, State::kHello);
  out.remote_ = remoteName(out.socket_);
  out.listening_kind_ = kind;
  out.judge_ = std::move(judge);
  return out;
}

short Handshake::events() const { return state_ == State::kConnecting ? POLLOUT : POLLIN; }

std::optional<int> Handshake::peer() const {
  if (!hello_known_) return std::nullopt;
  return static_cast<int>(judge_ ? hello_.claims.dialer_rank : hello_.claims.listener_rank);
}

Handshake::Progress Handshake::advance() {
  while (state_ != State::kDone && state_ != State::kFailed) {
    const State before = state_;
    if (Status status = step(); !status) {
      error_ = status.error();
      state_ = State::kFailed;
    }
    if (state_ == before) return Progress::kPending;
  }
  return state_ == State::kDone ? Progress::kDone : Progress::kFailed;
}

Status Handshake::step() {
  if (state_ == State::kConnecting) return onConnected();
  if (state_ == State::kVerbs) return onVerbs();
  EXO_ASSIGN(const bool complete, readAwaited());
  if (!complete) return {};
  in_bytes_ = 0;
  switch (state_) {
    case State::kHello: return onHello();
    case State::kChallenge: return onChallenge();
    case State::kProof: return onProof();
    case State::kAccept: return onAccept();
    default: return {};
  }
}

size_t Handshake::awaitedBytes() const {
  switch (state_) {
    case State::kHello: return sizeof(Hello);
    case State::kChallenge: return sizeof(Challenge);
    case State::kProof: return sizeof(Proof);
    case State::kAccept: return sizeof(Accept);
    default: return 0;
  }
}

/// Never reads past the awaited message: what follows belongs to the connection.
Result<bool> Handshake::readAwaited() {
  static_assert(sizeof(Hello) <= sizeof(in_) && sizeof(Challenge) <= sizeof(in_));
  iovec part = {in_.data() + in_bytes_, awaitedBytes() - in_bytes_};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  // Only here can a descriptor be expected; elsewhere the kernel closes what a stranger attaches.
  const bool wants_memory = state_ == State::kProof && kind() == Kind::kShm;
  if (wants_memory) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
  }
  const ssize_t got = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got < 0) return lost("the connection broke: " + errnoText(errno));
  if (got == 0) return lost("the connection was closed before the handshake was complete");
  if (wants_memory) takeDescriptors(message, memory_fd_);
  in_bytes_ += static_cast<size_t>(got);
  return in_bytes_ == awaitedBytes();
}

/// Handshake messages fit any socket buffer: a short write is a failure.
Status Handshake::write(std::span<const std::byte> bytes, int attached_fd) {
  iovec part = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (attached_fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &attached_fd, sizeof(int));
  }
  const ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(bytes.size())) return {};
  return lost("cannot write the handshake: " + (sent < 0 ? errnoText(errno) : std::string("the socket is full")));
}

Status Handshake::onConnected() {
  // advance() may come before the socket is ready: a socket that is still connecting has no peer yet.
  sockaddr_storage address;
  socklen_t length = sizeof(address);
  if (getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    const int error = connectError(socket_);
    if (error != 0) return lost("cannot connect: " + errnoText(error));
    return {};
  }
  remote_ = remoteName(socket_);
  EXO_ASSIGN(hello_, makeHello(hello_.claims));
  EXO_TRY(write(bytesOf(hello_)));
  state_ = State::kChallenge;
  return {};
}

Status Handshake::onHello() {
  std::memcpy(&hello_, in_.data(), sizeof(hello_));
  EXO_TRY(checkHello(hello_));
  hello_known_ = true;
  Judgement judgement = judge_(hello_.claims);
  // Verbs is agreed upon over TCP.
  const Kind socket_kind = kind() == Kind::kVerbs ? Kind::kTcp : kind();
  if (socket_kind != listening_kind_) judgement.refusal = Refusal::kKind;
  peer_name_ = judgement.peer_name;
  verbs_ = judgement.verbs;
  EXO_ASSIGN(challenge_, makeChallenge(key_, hello_, judgement.refusal, judgement.detail));
  EXO_TRY(write(bytesOf(challenge_)));
  if (judgement.refusal != Refusal::kNone)
    return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "refused here: ",
                     describe(judgement.refusal, hello_.claims, judgement.detail));
  state_ = State::kProof;
  return {};
}

Status Handshake::onChallenge() {
  std::memcpy(&challenge_, in_.data(), sizeof(challenge_));
  EXO_TRY(checkChallenge(key_, hello_, challenge_));
  if (kind() == Kind::kShm) {
    EXO_ASSIGN(memory_fd_, createSharedMemory(ShmConnection::memoryBytes(ring())));
  }
  EXO_TRY(write(bytesOf(makeProof(key_, hello_, challenge_)), memory_fd_.get()));
  state_ = State::kAccept;
  return {};
}

Status Handshake::onProof() {
  Proof proof;
  std::memcpy(&proof, in_.data(), sizeof(proof));
  EXO_TRY(checkProof(key_, hello_, challenge_, proof));
  if (kind() == Kind::kShm) EXO_TRY(checkSharedMemory(memory_fd_, ShmConnection::memoryBytes(ring())));
  EXO_TRY(write(bytesOf(makeAccept(key_, hello_, challenge_))));
  return finish(End::kListener);
}

Status Handshake::onAccept() {
  Accept accept;
  std::memcpy(&accept, in_.data(), sizeof(accept));
  EXO_TRY(checkAccept(key_, hello_, challenge_, accept));
  return finish(End::kDialer);
}

Status Handshake::finish(End end) {
  const int rank = *peer();
  if (kind() == Kind::kVerbs) {
    const auto authenticate = [key = key_, hello = hello_, challenge = challenge_](std::string_view label, std::span<const std::byte> bytes) {
      return macOf(key, hello, challenge, label, bytes);
    };
    negotiation_ = std::make_unique<verbs::Negotiation>(end, *verbs_.ports, verbs_.demand, authenticate, rank, peer_name_, ring());
    state_ = State::kVerbs;
    return {};
  }
  if (kind() == Kind::kTcp) return finishTcp("demanded");
  EXO_ASSIGN(Mapping memory, Mapping::shared(memory_fd_, ShmConnection::memoryBytes(ring())));
  memory_fd_.reset();
  connection_ = std::make_unique<ShmConnection>(rank, peer_name_, ring(), end, std::move(socket_), std::move(memory));
  connection_->setWhy("one host");
  state_ = State::kDone;
  return {};
}

Status Handshake::finishTcp(const std::string& why) {
  EXO_ASSIGN(connection_, TcpConnection::create(*peer(), peer_name_, ring(), std::move(socket_)));
  connection_->setWhy(why);
  state_ = State::kDone;
  return {};
}

Status Handshake::onVerbs() {
  EXO_ASSIGN(const verbs::Negotiation::Progress progress, negotiation_->advance(socket_));
  if (progress == verbs::Negotiation::Progress::kPending) return {};
  if (progress == verbs::Negotiation::Progress::kWithout) return finishTcp(negotiation_->why());
  auto connection = negotiation_->takeConnection();
  connection->adopt(std::move(socket_));
  connection->setWhy(negotiation_->why());
  connection_ = std::move(connection);
  state_ = State::kDone;
  return {};
}

}  // namespace exo::transport
