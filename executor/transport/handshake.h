// One link being made, from either end: a state machine over a non-blocking socket that ends in a Connection.
// The caller polls fd() for events() and calls advance(); it also keeps the deadline.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "executor/transport/session.h"
#include "executor/transport/shm_connection.h"
#include "executor/transport/socket.h"
#include "executor/transport/transport.h"
#include "executor/transport/verbs/negotiation.h"

namespace exo::transport {

/// What this end brings into a link of kind kVerbs; `ports` outlives the handshake, null for the other kinds.
struct VerbsTerms {
  const verbs::LocalPorts* ports = nullptr;
  verbs::Negotiation::Demand demand = verbs::Negotiation::Demand::kNo;
};

/// What the listener thinks of a dialer's claims; Refusal::kNone is consent.
struct Judgement {
  Refusal refusal = Refusal::kNone;
  uint64_t detail = 0;
  std::string peer_name;
  VerbsTerms verbs = {};
};
using Judge = std::function<Judgement(const Claims&)>;

class Handshake {
 public:
  enum class Progress { kPending, kDone, kFailed };

  /// Dials; `socket` may still be connecting. `claims.kind` says over what: kVerbs becomes kTcp when it is not possible.
  static Handshake dialer(FileDescriptor socket, const SessionKey& key, const Claims& claims, std::string peer_name, VerbsTerms verbs = {});
  /// `kind` is that of the listening socket.
  static Handshake listener(FileDescriptor socket, const SessionKey& key, Kind kind, Judge judge);

  int fd() const { return socket_.get(); }
  short events() const;
  Progress advance();

  /// After kFailed. kMismatch is final: dialling again would not help.
  const Error& error() const { return *error_; }
  /// Of the peer, as far as it is known; for a listener only claimed until kDone.
  std::optional<int> peer() const;
  const std::string& remote() const { return remote_; }
  /// Has the peer proved that it knows the key?
  bool trusted() const { return state_ == State::kVerbs || state_ == State::kDone; }
  /// After kDone, once.
  std::unique_ptr<Connection> takeConnection() { return std::move(connection_); }

 private:
  enum class State { kConnecting, kHello, kChallenge, kProof, kAccept, kVerbs, kDone, kFailed };  // the message awaited
  Handshake(FileDescriptor socket, const SessionKey& key, State state) : socket_(std::move(socket)), key_(key), state_(state) {}

  Status step();
  Status onConnected();
  Status onHello();
  Status onChallenge();
  Status onProof();
  Status onAccept();
  size_t awaitedBytes() const;
  Result<bool> readAwaited();
  Status write(std::span<const std::byte> bytes, int attached_fd = -1);
  Status finish(End end);
  Status onVerbs();
  Status finishTcp(const std::string& why);
  Kind kind() const { return static_cast<Kind>(hello_.claims.kind); }
  RingShape ring() const { return {hello_.claims.slot_bytes, hello_.claims.num_slots}; }

  FileDescriptor socket_;
  SessionKey key_;
  State state_;
  Kind listening_kind_ = Kind::kTcp;
  Judge judge_;
  std::string peer_name_, remote_;
  bool hello_known_ = false;
  Hello hello_;
  Challenge challenge_;
  FileDescriptor memory_fd_;
  VerbsTerms verbs_;
  std::unique_ptr<verbs::Negotiation> negotiation_;
  std::array<std::byte, 256> in_;
  size_t in_bytes_ = 0;
  std::optional<Error> error_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace exo::transport
