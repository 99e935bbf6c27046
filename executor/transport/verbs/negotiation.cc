#include "executor/transport/verbs/negotiation.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <type_traits>

namespace exo::transport::verbs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kMagic = 0x736272657678650a;  // "\nexverbs"
// A first write takes microseconds, unless a network drops it. Where there is no way but verbs, longer than the queue pair
// itself tries (queue_pair.cc).
constexpr std::chrono::seconds kProbePatience{4}, kDemandedProbePatience{10};

static_assert(std::has_unique_object_representations_v<Message>);

std::span<const std::byte> authenticated(const Message& message) {
  return std::as_bytes(std::span(&message, 1)).first(offsetof(Message, mac));
}

Error lost(const std::string& why) { return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, why); }
Error mismatch(const std::string& why) { return makeError(ErrorCode::kMismatch, ErrorScope::kLink, why); }

std::string textOf(const std::array<char, 200>& why) { return {why.data(), strnlen(why.data(), why.size())}; }

}  // namespace

LocalPorts findPorts(const DeviceChoice& choice) {
  auto ports = openPorts(choice);
  if (!ports.ok()) return {{}, ports.error().message()};
  return {std::move(*ports), ""};
}

Negotiation::Negotiation(End end, const LocalPorts& local, Demand demand, Authenticate authenticate, int peer, std::string peer_name,
                         RingShape ring)
    : local_(local),
      authenticate_(std::move(authenticate)),
      own_label_(end == End::kDialer ? "exo verbs dialer" : "exo verbs listener"),
      peer_label_(end == End::kDialer ? "exo verbs listener" : "exo verbs dialer"),
      peer_(peer),
      peer_name_(std::move(peer_name)),
      ring_(ring),
      demanded_(demand == Demand::kYes) {
  mine_.ok = 1;
}

Result<Negotiation::Progress> Negotiation::advance(const FileDescriptor& socket) {
  for (;;) {
    if (!said_) {
      if (stage_ == Stage::kPaths) {
        mine_.paths = pathsOf(local_.ports, localAddress(socket));
        mine_.demanded = demanded_ ? 1 : 0;
        if (local_.ports.empty()) giveUp(local_.why_none);
      }
      if (stage_ == Stage::kVerdict && !probeEnded()) return Progress::kPending;
      EXO_TRY(say(socket));
    }
    EXO_ASSIGN(const bool heard, hear(socket));
    if (!heard) return Progress::kPending;
    if (stage_ == Stage::kPaths && theirs_.demanded != 0) demanded_ = true;
    if (mine_.ok == 0 || theirs_.ok == 0 || stage_ == Stage::kVerdict) return conclude();
    prepare();
  }
}

/// The next stage, now that both agree so far.
void Negotiation::prepare() {
  const Stage done = stage_;
  stage_ = static_cast<Stage>(static_cast<uint64_t>(stage_) + 1);
  said_ = false;
  heard_bytes_ = 0;
  if (done == Stage::kPaths) choosePath();
  if (done == Stage::kQueue) connect();
  if (done == Stage::kReady) {
    connection_->probe();
    probe_deadline_ = Clock::now() + (demanded_ ? kDemandedProbePatience : kProbePatience);
  }
}

void Negotiation::choosePath() {
  const auto pair = choosePair(mine_.paths, theirs_.paths);
  if (!pair) return giveUp("no two ports of one network (InfiniBand, or RoCE v2 with addresses of one family)");
  peer_path_ = theirs_.paths[pair->second];
  auto made = VerbsConnection::create(peer_, peer_name_, ring_, local_.ports[pair->first]);
  if (!made.ok()) return giveUp(made.error().message());
  connection_ = std::move(*made);
  mine_.inbox = connection_->address();
}

void Negotiation::connect() {
  if (const Status status = connection_->connect(peer_path_, theirs_.inbox); !status) giveUp(status.error().message());
}

bool Negotiation::probeEnded() {
  const Result<bool> probed = connection_->probed();
  if (!probed.ok()) giveUp("a first write to " + text(peer_path_.gid) + " failed: " + probed.error().message());
  if (!probed.ok() || *probed) return true;
  if (Clock::now() < probe_deadline_) return false;
  giveUp("a first write to or from " + text(peer_path_.gid) + " did not arrive (" + connection_->pathText() + ")");
  return true;
}

void Negotiation::giveUp(const std::string& why) {
  mine_.ok = 0;
  mine_.why = {};
  std::copy_n(why.begin(), std::min(why.size(), mine_.why.size() - 1), mine_.why.begin());
}

Result<Negotiation::Progress> Negotiation::conclude() {
  if (mine_.ok != 0 && theirs_.ok != 0) {
    why_ = connection_->pathText();
    return Progress::kAgreed;
  }
  connection_.reset();
  if (mine_.ok == 0) why_ = textOf(mine_.why);
  if (theirs_.ok == 0 && textOf(mine_.why) != textOf(theirs_.why))
    why_ += (mine_.ok == 0 ? "; " : "") + ("at " + peer_name_ + ": ") + textOf(theirs_.why);
  if (demanded_) return mismatch("transport verbs is demanded, but not possible: " + why_);
  why_ = "no verbs: " + why_;
  return Progress::kWithout;
}

/// A message fits any socket buffer: a short write is a failure.
Status Negotiation::say(const FileDescriptor& socket) {
  mine_.magic = kMagic;
  mine_.stage = static_cast<uint64_t>(stage_);
  mine_.mac = authenticate_(own_label_, authenticated(mine_));
  const ssize_t sent = send(socket.get(), &mine_, sizeof(mine_), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent != static_cast<ssize_t>(sizeof(mine_)))
    return lost("cannot agree on verbs: " + (sent < 0 ? errnoText(errno) : std::string("the socket is full")));
  said_ = true;
  return {};
}

/// Never reads past the message: what follows belongs to the connection.
Result<bool> Negotiation::hear(const FileDescriptor& socket) {
  auto* const to = reinterpret_cast<std::byte*>(&theirs_);
  const ssize_t got = recv(socket.get(), to + heard_bytes_, sizeof(theirs_) - heard_bytes_, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) return lost(got == 0 ? "the connection was closed while agreeing on verbs" : "the connection broke: " + errnoText(errno));
  heard_bytes_ += static_cast<size_t>(got);
  if (heard_bytes_ < sizeof(theirs_)) return false;
  if (theirs_.magic != kMagic || !equal(theirs_.mac, authenticate_(peer_label_, authenticated(theirs_))))
    return mismatch("a message about verbs is forged");
  if (theirs_.stage != static_cast<uint64_t>(stage_))
    return mismatch("a message about verbs is out of turn: stage " + std::to_string(static_cast<uint64_t>(stage_)) + " expected, got " +
                    std::to_string(theirs_.stage));
  return true;
}

}  // namespace exo::transport::verbs
