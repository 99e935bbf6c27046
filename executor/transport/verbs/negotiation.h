// How two ranks that have proved themselves to each other over TCP agree on verbs, or on doing without. Both say the same
// four things in turn, each under a MAC of the session's key, and each waits for the other's before the next:
//
//   paths    our ports, or why there are none        → both choose the same pair of ports, or end
//   queue    our queue pair and inbox on that port   → connect
//   ready    we are connected                        → write a first credit into the other's memory
//   verdict  it arrived, or why not                  → a verbs link when both say so
//
// After a failure on either side both know why, and the same socket serves for TCP.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "executor/transport/session.h"
#include "executor/transport/socket.h"
#include "executor/transport/verbs/connection.h"
#include "executor/transport/verbs/device.h"

namespace exo::transport::verbs {

/// What this rank has, or why it has nothing (or may use nothing).
struct LocalPorts {
  std::vector<Port> ports;
  std::string why_none;
};
LocalPorts findPorts(const DeviceChoice& choice);

/// On the wire as it is here (checked for holes).
struct Message {
  uint64_t magic = 0;
  uint64_t stage = 0;
  uint64_t ok = 0;
  uint64_t demanded = 0;  // paths: this side does not want to go on without verbs
  Paths paths = {};       // paths
  InboxAddress inbox;     // queue
  std::array<char, 200> why = {};
  Mac mac = {};
};

class Negotiation {
 public:
  enum class Progress { kPending, kAgreed, kWithout };
  enum class Demand { kNo, kYes };
  /// `authenticate`: the MAC of bytes under the session's key and a label.
  using Authenticate = std::function<Mac(std::string_view label, std::span<const std::byte> bytes)>;

  Negotiation(End end, const LocalPorts& local, Demand demand, Authenticate authenticate, int peer, std::string peer_name, RingShape ring);

  /// Errors: kPeerLost, kMismatch (a forged message; verbs demanded and not possible).
  Result<Progress> advance(const FileDescriptor& socket);
  /// kWithout: why. kAgreed: over what.
  const std::string& why() const { return why_; }
  /// kAgreed, once.
  std::unique_ptr<VerbsConnection> takeConnection() { return std::move(connection_); }

 private:
  enum class Stage : uint64_t { kPaths = 1, kQueue, kReady, kVerdict };
  Status say(const FileDescriptor& socket);
  Result<bool> hear(const FileDescriptor& socket);
  void prepare();
  void choosePath();
  void connect();
  bool probeEnded();
  void giveUp(const std::string& why);
  Result<Progress> conclude();

  const LocalPorts& local_;
  Authenticate authenticate_;
  const std::string own_label_, peer_label_;
  const int peer_;
  const std::string peer_name_;
  const RingShape ring_;

  Stage stage_ = Stage::kPaths;
  bool said_ = false;
  Message mine_, theirs_;
  size_t heard_bytes_ = 0;
  Path peer_path_;
  bool demanded_;
  std::string why_;
  std::unique_ptr<VerbsConnection> connection_;
  std::chrono::steady_clock::time_point probe_deadline_;
};

}  // namespace exo::transport::verbs
