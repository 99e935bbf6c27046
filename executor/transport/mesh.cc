#include "executor/transport/mesh.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <map>
#include <numeric>
#include <set>

#include "executor/transport/handshake.h"

namespace exo::transport {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kMaxWorld = 4096;
constexpr size_t kMaxPending = 64;  // accepted connections whose handshake is not through; the oldest gives way
constexpr auto kTick = 20ms;        // longest time in poll(): bounds the delay of cancelling
constexpr auto kRedialFirst = 10ms, kRedialMost = 200ms;

Status validate(const MeshOptions& options, const Endpoint& here) {
  if (options.world < 1 || options.world > kMaxWorld) return invalid("world must be in [1, ", kMaxWorld, "], got ", options.world);
  if (options.rank < 0 || options.rank >= options.world)
    return invalid("rank must be in [0, ", options.world, "), got ", options.rank);
  if (options.connect_timeout <= 0ms || options.handshake_timeout <= 0ms) return invalid("timeouts must be positive");
  EXO_TRY(validate(options.ring));
  std::set<int> seen;
  for (const PeerOptions& peer : options.peers) {
    if (peer.rank < 0 || peer.rank >= options.world || peer.rank == options.rank)
      return invalid("peers of rank ", options.rank, ": rank ", peer.rank, " is not another rank of a world of ", options.world);
    if (!seen.insert(peer.rank).second) return invalid("peers of rank ", options.rank, ": rank ", peer.rank, " appears twice");
    if (peer.rank < options.rank && peer.choice == Choice::kShm && peer.endpoint.boot_id != here.boot_id)
      return invalid("rank ", peer.rank, " (", peer.name, ") runs on another host: shm cannot reach it");
  }
  return {};
}

/// A peer of lower rank: dialled over the kinds in turn until one works.
struct Outgoing {
  const PeerOptions* peer;
  std::vector<Kind> kinds;
  size_t attempt = 0;
  std::optional<Handshake> handshake;
  Clock::time_point next_dial{};
  Clock::duration backoff = kRedialFirst;
};

struct Incoming {
  Handshake handshake;
  Clock::time_point deadline;
};

std::vector<Kind> kindsToTry(const PeerOptions& peer, const Endpoint& here) {
  if (peer.choice == Choice::kShm) return {Kind::kShm};
  if (peer.choice == Choice::kTcp) return {Kind::kTcp};
  if (peer.choice == Choice::kVerbs) return {Kind::kVerbs};
  const bool same_host = !here.boot_id.empty() && here.boot_id == peer.endpoint.boot_id && !peer.endpoint.unix_name.empty();
  // Where verbs is not possible, what was dialled for it becomes tcp.
  return same_host ? std::vector{Kind::kShm, Kind::kVerbs} : std::vector{Kind::kVerbs};
}

/// Makes all links of one mesh: one poll() loop over the listeners and every handshake under way.
class Linker {
 public:
  Linker(Listener listener, const MeshOptions& options)
      : listener_(std::move(listener)), options_(options), links_(options.world), deadline_(Clock::now() + options.connect_timeout) {
    for (const PeerOptions& peer : options_.peers)
      if (peer.rank < options_.rank) outgoing_.push_back({&peer, kindsToTry(peer, listener_.endpoint())});
  }

  Result<std::vector<std::unique_ptr<Connection>>> run() {
    while (missing() > 0) {
      if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed))
        return makeError(ErrorCode::kCancelled, ErrorScope::kLink, "connecting rank ", options_.rank, " was cancelled");
      if (Clock::now() >= deadline_) return timeout();
      EXO_TRY(dialAll());
      const std::vector<pollfd> ready = wait();
      EXO_TRY(advanceOutgoing());
      advanceIncoming();
      acceptAll(ready);
    }
    return std::move(links_);
  }

 private:
  size_t missing() const {
    return static_cast<size_t>(
        std::count_if(options_.peers.begin(), options_.peers.end(), [&](const PeerOptions& peer) { return !links_[peer.rank]; }));
  }

  Error timeout() const {
    std::ostringstream out;
    out << "rank " << options_.rank << ": after " << options_.connect_timeout.count() << " ms still no link to";
    for (const PeerOptions& peer : options_.peers) {
      if (links_[peer.rank]) continue;
      out << " rank " << peer.rank << " (" << peer.name << " at " << peer.endpoint.address << ":" << peer.endpoint.port << ")";
      const auto note = notes_.find(peer.rank);
      out << (note == notes_.end() ? (peer.rank < options_.rank ? ": no answer" : ": it never called") : ": " + note->second) << ";";
    }
    std::string text = out.str();
    text.pop_back();
    return Error(ErrorCode::kTimeout, text, ErrorScope::kLink);
  }

  Claims claimsFor(const PeerOptions& peer, Kind kind) const {
    return {static_cast<uint32_t>(options_.rank), static_cast<uint32_t>(peer.rank), static_cast<uint32_t>(options_.world),
            static_cast<uint32_t>(kind), options_.epoch, options_.ring.slot_bytes, options_.ring.num_slots};
  }

  /// Looked for when first needed: opening devices takes a while, and one host needs none.
  VerbsTerms termsFor(const PeerOptions& peer) {
    static const verbs::LocalPorts forbidden = {{}, "told to use tcp"};
    if (peer.choice == Choice::kTcp) return {&forbidden, verbs::Negotiation::Demand::kNo};
    if (!ports_) ports_ = verbs::findPorts(options_.device);
    return {&*ports_, peer.choice == Choice::kVerbs ? verbs::Negotiation::Demand::kYes : verbs::Negotiation::Demand::kNo};
  }

  Status dialAll() {
    for (Outgoing& out : outgoing_) {
      if (links_[out.peer->rank] || out.handshake || Clock::now() < out.next_dial) continue;
      const Kind kind = out.kinds[out.attempt % out.kinds.size()];
      const Endpoint& endpoint = out.peer->endpoint;
      EXO_ASSIGN(const SocketAddress address,
                 kind == Kind::kShm ? abstractAddress(endpoint.unix_name) : tcpAddress(endpoint.address, endpoint.port));
      Dial dial = startDial(address);
      if (!dial.socket) {
        if (dial.error == EAGAIN) --out.attempt;  // its backlog is full: the same way again
        redial(out, "cannot connect: " + errnoText(dial.error));
        continue;
      }
      out.handshake = Handshake::dialer(std::move(dial.socket), options_.session_key, claimsFor(*out.peer, kind), out.peer->name,
                                        kind == Kind::kVerbs ? termsFor(*out.peer) : VerbsTerms{});
    }
    return {};
  }

  /// The other kind at once, the same kind after a pause that doubles.
  void redial(Outgoing& out, const std::string& why) {
    notes_[out.peer->rank] = why;
    out.handshake.reset();
    ++out.attempt;
    if (out.attempt % out.kinds.size() != 0) return;
    out.next_dial = Clock::now() + out.backoff;
    out.backoff = std::min<Clock::duration>(out.backoff * 2, kRedialMost);
  }

  std::vector<pollfd> wait() {
    std::vector<pollfd> fds = {{listener_.tcpFd(), POLLIN, 0}, {listener_.unixFd(), POLLIN, 0}};
    for (const Outgoing& out : outgoing_)
      if (out.handshake) fds.push_back({out.handshake->fd(), out.handshake->events(), 0});
    for (const Incoming& in : incoming_) fds.push_back({in.handshake.fd(), in.handshake.events(), 0});
    // A failed poll only costs a turn of the loop, which is bounded by the deadline.
    (void)poll(fds.data(), fds.size(), static_cast<int>(std::chrono::milliseconds(kTick).count()));
    return fds;
  }

  Status advanceOutgoing() {
    for (Outgoing& out : outgoing_) {
      if (!out.handshake) continue;
      const Handshake::Progress progress = out.handshake->advance();
      if (progress == Handshake::Progress::kPending) continue;
      if (progress == Handshake::Progress::kDone) {
        links_[out.peer->rank] = out.handshake->takeConnection();
        out.handshake.reset();
        continue;
      }
      const Error error = out.handshake->error();
      if (error.code() != ErrorCode::kPeerLost)
        return Error(error).note("while linking rank " + std::to_string(options_.rank) + " with rank " +
                                 std::to_string(out.peer->rank) + " (" + out.peer->name + ") at " + out.handshake->remote());
      redial(out, error.message());
    }
    return {};
  }

  void advanceIncoming() {
    for (auto in = incoming_.begin(); in != incoming_.end();) {
      const Handshake::Progress progress = in->handshake.advance();
      const bool late = progress == Handshake::Progress::kPending && !in->handshake.trusted() && Clock::now() >= in->deadline;
      if (progress == Handshake::Progress::kPending && !late) {
        ++in;
        continue;
      }
      const std::optional<int> rank = in->handshake.peer();
      if (progress == Handshake::Progress::kDone) {
        links_[*rank] = in->handshake.takeConnection();  // a peer that called again has given up its first call
      } else if (rank) {
        noteStranger(*rank, in->handshake, late ? "fell silent" : in->handshake.error().message());
      }
      in = incoming_.erase(in);
    }
  }

  /// For the error of a timeout: anyone can claim a rank, so this is no error by itself.
  void noteStranger(int rank, const Handshake& handshake, const std::string& why) {
    const bool awaited = std::any_of(options_.peers.begin(), options_.peers.end(),
                                     [&](const PeerOptions& peer) { return peer.rank == rank; });
    if (awaited) notes_[rank] = "a caller that claims to be it, from " + handshake.remote() + ", failed: " + why;
  }

  void acceptAll(const std::vector<pollfd>& ready) {
    if (ready[0].revents != 0) acceptFrom(listener_.tcpFd(), Kind::kTcp);
    if (ready[1].revents != 0) acceptFrom(listener_.unixFd(), Kind::kShm);
  }

  void acceptFrom(int fd, Kind kind) {
    for (size_t i = 0; i < kMaxPending; ++i) {
      FileDescriptor socket(accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket) return;
      if (incoming_.size() == kMaxPending) incoming_.pop_front();
      incoming_.push_back({Handshake::listener(std::move(socket), options_.session_key, kind,
                                               [this](const Claims& claims) { return judge(claims); }),
                           Clock::now() + options_.handshake_timeout});
    }
  }

  Judgement judge(const Claims& claims) {
    const auto refuse = [](Refusal refusal, uint64_t detail) { return Judgement{refusal, detail, ""}; };
    if (claims.listener_rank != static_cast<uint32_t>(options_.rank)) return refuse(Refusal::kListenerRank, options_.rank);
    if (claims.world != static_cast<uint32_t>(options_.world)) return refuse(Refusal::kWorld, options_.world);
    if (claims.epoch != options_.epoch) return refuse(Refusal::kEpoch, options_.epoch);
    if (claims.slot_bytes != options_.ring.slot_bytes) return refuse(Refusal::kSlotBytes, options_.ring.slot_bytes);
    if (claims.num_slots != options_.ring.num_slots) return refuse(Refusal::kNumSlots, options_.ring.num_slots);
    for (const PeerOptions& peer : options_.peers) {
      if (static_cast<uint32_t>(peer.rank) != claims.dialer_rank || peer.rank <= options_.rank) continue;
      const auto kind = static_cast<Kind>(claims.kind);
      if (!accepts(peer.choice, kind)) return refuse(Refusal::kKind, 0);
      return {Refusal::kNone, 0, peer.name, kind == Kind::kVerbs ? termsFor(peer) : VerbsTerms{}};
    }
    return refuse(Refusal::kDialerRank, 0);
  }

  static bool accepts(Choice choice, Kind kind) {
    switch (kind) {
      case Kind::kShm: return choice == Choice::kAuto || choice == Choice::kShm;
      case Kind::kTcp: return choice == Choice::kAuto || choice == Choice::kTcp;
      case Kind::kVerbs: return choice != Choice::kShm;
      default: return false;
    }
  }

  Listener listener_;
  const MeshOptions& options_;
  std::vector<std::unique_ptr<Connection>> links_;
  Clock::time_point deadline_;
  std::optional<verbs::LocalPorts> ports_;
  std::vector<Outgoing> outgoing_;
  std::list<Incoming> incoming_;
  std::map<int, std::string> notes_;  // per rank: why there is no link yet
};

/// By rank: the first rank with the same boot id.
std::vector<int> hostsOf(const MeshOptions& options, const Endpoint& here) {
  std::vector<std::string> boot_ids(static_cast<size_t>(options.world));
  boot_ids[static_cast<size_t>(options.rank)] = here.boot_id;
  for (const PeerOptions& peer : options.peers) boot_ids[static_cast<size_t>(peer.rank)] = peer.endpoint.boot_id;
  std::vector<int> hosts;
  for (int rank = 0; rank < options.world; ++rank) {
    const auto same = std::find(boot_ids.begin(), boot_ids.end(), boot_ids[static_cast<size_t>(rank)]);
    hosts.push_back(same->empty() ? rank : static_cast<int>(same - boot_ids.begin()));
  }
  return hosts;
}

}  // namespace

Result<Choice> parseChoice(std::string_view text) {
  constexpr std::pair<std::string_view, Choice> kNames[] = {
      {"auto", Choice::kAuto}, {"shm", Choice::kShm}, {"verbs", Choice::kVerbs}, {"tcp", Choice::kTcp}};
  for (const auto& [name, choice] : kNames)
    if (text == name) return choice;
  return invalid("--transport: expected auto, shm, verbs or tcp, got \"", text.substr(0, 100), "\"");
}

Result<std::unique_ptr<Mesh>> Mesh::connect(Listener listener, const MeshOptions& options) {
  EXO_TRY(validate(options, listener.endpoint()));
  std::vector<int> hosts = hostsOf(options, listener.endpoint());
  EXO_ASSIGN(auto links, Linker(std::move(listener), options).run());
  auto mesh = std::make_unique<Mesh>(options.rank, std::move(links), options.cancel);
  mesh->setHosts(std::move(hosts));
  return mesh;
}

Mesh::Mesh(int rank, std::vector<std::unique_ptr<Connection>> links, const std::atomic<bool>* cancel)
    : rank_(rank), links_(std::move(links)), hosts_(links_.size()), cancel_(cancel) {
  EXO_CHECK(rank_ >= 0 && rank_ < world());
  std::iota(hosts_.begin(), hosts_.end(), 0);
}

}  // namespace exo::transport
