#include "executor/cluster/link_probe.h"

#include <glog/logging.h>
#include <openssl/rand.h>

#include <algorithm>
#include <chrono>
#include <span>

#include "executor/cluster/address.h"
#include "executor/collectives/collectives.h"
#include "executor/transport/mesh.h"

namespace exo::cluster {
namespace {

using Clock = std::chrono::steady_clock;
using collectives::Communicator;
using std::chrono::milliseconds;

constexpr uint64_t kCurveBytes[] = {64, 256, 1024, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20};
constexpr uint64_t kMostBytes = 4 << 20, kStreamBytes = 1 << 20;
constexpr uint64_t kMostRounds = 1 << 20;
constexpr int kRepetitions = 3;               // spread over the whole measurement: a hiccup of the machine hits one of them
constexpr milliseconds kPointTime{20};        // of one size in one repetition
constexpr milliseconds kStreamTime{100};
constexpr milliseconds kPatience{5000};
constexpr size_t kMaxProbes = 8;
constexpr int kAnswerer = 0, kAsker = 1;  // the higher rank dials

/// What the asker wants next: messages of `bytes`, `rounds` of them.
struct Command {
  enum Kind : uint32_t { kPing = 1, kStream, kBarrier, kEnd };
  uint32_t kind = kEnd;
  uint32_t reserved = 0;
  uint64_t rounds = 0;
  uint64_t bytes = 0;
};

Result<std::unique_ptr<Communicator>> communicator(transport::Mesh& mesh) {
  return Communicator::create(mesh, {kAnswerer, kAsker}, {.timeout = kPatience});
}

/// One end of the conversation.
class Talk {
 public:
  Talk(Communicator& group, int peer) : group_(group), peers_{peer} {}
  Status send(std::span<const std::byte> bytes) { return group_.send(peers_, bytes, "link measurement"); }
  Status receive(std::span<std::byte> bytes) { return group_.recv(peers_[0], bytes, "link measurement"); }
  Status barrier() { return group_.barrier("link measurement"); }

 private:
  Communicator& group_;
  int peers_[1];
};

Status answer(transport::Mesh& mesh, const std::atomic<bool>& cancel) {
  EXO_ASSIGN(const auto group, communicator(mesh));
  Talk talk(*group, kAsker);
  std::vector<std::byte> memory(kMostBytes);
  for (;;) {
    Command command;
    EXO_TRY(talk.receive(std::as_writable_bytes(std::span(&command, 1))));
    if (command.bytes > kMostBytes || command.rounds > kMostRounds)
      return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "asked to measure ", command.rounds, " messages of ", command.bytes, " B");
    const std::span<std::byte> bytes = std::span(memory).first(command.bytes);
    for (uint64_t round = 0; round < command.rounds; ++round) {
      if (command.kind == Command::kBarrier) {
        EXO_TRY(talk.barrier());
        continue;
      }
      EXO_TRY(talk.receive(bytes));
      if (command.kind == Command::kPing) EXO_TRY(talk.send(bytes));
    }
    if (command.kind == Command::kStream || command.kind == Command::kEnd) EXO_TRY(talk.send(std::span(memory).first(1)));
    if (command.kind != Command::kEnd) continue;
    // The asker hangs up. Were it us, with a credit of its unread, TCP would reset the connection and drop our answer.
    transport::Connection& link = mesh.peer(kAsker);
    const Clock::time_point deadline = Clock::now() + kPatience;
    while (!cancel && link.status().ok() && Clock::now() < deadline) std::this_thread::sleep_for(milliseconds(1));
    return {};
  }
}

class Asker {
 public:
  explicit Asker(Communicator& group) : talk_(group, kAnswerer), memory_(kMostBytes) {}

  Result<LinkMeasurement> measure() {
    std::vector<double> barriers, streams;
    std::vector<std::vector<double>> pings(std::size(kCurveBytes));
    for (int repetition = 0; repetition < kRepetitions; ++repetition) {
      for (size_t i = 0; i < std::size(kCurveBytes); ++i) {
        EXO_ASSIGN(const double us, timed({.kind = Command::kPing, .bytes = kCurveBytes[i]}));
        pings[i].push_back(us / 2);
      }
      EXO_ASSIGN(const double barrier_us, timed({.kind = Command::kBarrier}));
      barriers.push_back(barrier_us);
      EXO_ASSIGN(const double gbit_per_s, stream());
      streams.push_back(gbit_per_s);
    }
    LinkMeasurement out;
    for (size_t i = 0; i < std::size(kCurveBytes); ++i) out.curve.push_back({kCurveBytes[i], summarized(std::move(pings[i]))});
    out.latency_us = out.curve.front().us;
    out.barrier_us = summarized(std::move(barriers));
    out.bandwidth_gbit_per_s = summarized(std::move(streams));
    std::byte end;
    EXO_TRY(tell({}));
    EXO_TRY(talk_.receive({&end, 1}));
    return out;
  }

 private:
  Status tell(const Command& command) { return talk_.send(std::as_bytes(std::span(&command, 1))); }

  Status round(const Command& command) {
    if (command.kind == Command::kBarrier) return talk_.barrier();
    const std::span<std::byte> bytes = std::span(memory_).first(command.bytes);
    EXO_TRY(talk_.send(bytes));
    return talk_.receive(bytes);
  }

  /// Median time of a round, after some that say how many fit into kPointTime.
  Result<double> timed(Command command) {
    EXO_ASSIGN(std::vector<double> us, rounds(command, 4));
    const double fit = std::chrono::duration<double, std::micro>(kPointTime).count() / *std::min_element(us.begin() + 1, us.end());
    EXO_ASSIGN(us, rounds(command, static_cast<uint64_t>(std::clamp(fit, 5.0, 2000.0))));
    std::nth_element(us.begin(), us.begin() + static_cast<std::ptrdiff_t>(us.size() / 2), us.end());
    return us[us.size() / 2];
  }

  Result<std::vector<double>> rounds(Command command, uint64_t count) {
    command.rounds = count;
    EXO_TRY(tell(command));
    std::vector<double> us;
    for (uint64_t i = 0; i < count; ++i) {
      const Clock::time_point begin = Clock::now();
      EXO_TRY(round(command));
      us.push_back(std::max(0.01, std::chrono::duration<double, std::micro>(Clock::now() - begin).count()));
    }
    return us;
  }

  /// One way, in Gbit/s: until the other side has the last byte.
  Result<double> stream() {
    EXO_ASSIGN(const double one_s, streamSeconds(1));
    const double fit = std::chrono::duration<double>(kStreamTime).count() / one_s;
    const auto count = static_cast<uint64_t>(std::clamp(fit, 2.0, 10'000.0));
    EXO_ASSIGN(const double seconds, streamSeconds(count));
    return static_cast<double>(count * kStreamBytes) * 8 / seconds / 1e9;
  }

  Result<double> streamSeconds(uint64_t count) {
    const std::span<std::byte> bytes = std::span(memory_).first(kStreamBytes);
    const Clock::time_point begin = Clock::now();
    EXO_TRY(tell({.kind = Command::kStream, .rounds = count, .bytes = kStreamBytes}));
    for (uint64_t i = 0; i < count; ++i) EXO_TRY(talk_.send(bytes));
    EXO_TRY(talk_.receive(bytes.first(1)));
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  Talk talk_;
  std::vector<std::byte> memory_;
};

Result<std::unique_ptr<transport::Mesh>> connect(transport::Listener listener, int rank, const std::string& peer, transport::Endpoint endpoint,
                                                 const ProbeTicket& ticket, const std::atomic<bool>& cancel) {
  EXO_ASSIGN(const transport::Choice choice, transport::parseChoice(ticket.transport));
  transport::MeshOptions options;
  options.rank = rank;
  options.world = 2;
  options.epoch = ticket.epoch;
  options.session_key = ticket.key;
  options.peers.push_back({.rank = 1 - rank, .name = peer, .endpoint = std::move(endpoint), .choice = choice});
  options.connect_timeout = kPatience;
  options.cancel = &cancel;
  return transport::Mesh::connect(std::move(listener), options);
}

}  // namespace

Result<ProbeTicket> makeProbeTicket(const std::string& transport) {
  ProbeTicket ticket{.transport = transport};
  EXO_TRY([&]() -> Status {
    const auto choice = transport::parseChoice(transport);
    if (!choice.ok()) return choice.error();
    return {};
  }());
  if (RAND_bytes(ticket.key.data(), static_cast<int>(ticket.key.size())) != 1 ||
      RAND_bytes(reinterpret_cast<unsigned char*>(&ticket.epoch), sizeof ticket.epoch) != 1) {
    return makeError(ErrorCode::kIo, "no randomness for a session key");
  }
  return ticket;
}

LinkProbes::~LinkProbes() {
  cancel_ = true;
  for (const std::unique_ptr<Probe>& probe : probes_) probe->thread.join();
}

Result<std::string> LinkProbes::open(const std::string& host, const ProbeTicket& ticket) {
  EXO_TRY(transport::parseChoice(ticket.transport).ok() ? Status{} : Status(transport::parseChoice(ticket.transport).error()));
  EXO_ASSIGN(transport::Listener listener, transport::Listener::open(host));
  const std::string endpoint = listener.endpoint().text();
  const std::lock_guard lock(mutex_);
  std::erase_if(probes_, [](const std::unique_ptr<Probe>& probe) {
    if (!probe->done) return false;
    probe->thread.join();
    return true;
  });
  if (probes_.size() >= kMaxProbes) return makeError(ErrorCode::kDoesNotFit, kMaxProbes, " link measurements are running already");
  auto probe = std::make_unique<Probe>();
  Probe* const mine = probe.get();
  // The asker dials, so where it listens does not matter here; shm needs its boot id, which is ours if it can use shm.
  transport::Endpoint asker = listener.endpoint();
  mine->thread = std::thread([this, mine, ticket, asker, listener = std::move(listener)]() mutable {
    auto mesh = connect(std::move(listener), kAnswerer, "the measuring node", std::move(asker), ticket, cancel_);
    Status status = mesh.ok() ? answer(**mesh, cancel_) : Status(mesh.error());
    if (!status.ok()) VLOG(1) << "link measurement: " << status.error();
    mine->done = true;
  });
  probes_.push_back(std::move(probe));
  return endpoint;
}

Result<LinkMeasurement> measureLink(const std::string& endpoint_text, const std::string& host, const std::string& peer,
                                    const ProbeTicket& ticket, const std::atomic<bool>& cancel) {
  EXO_ASSIGN(transport::Endpoint endpoint, transport::Endpoint::parse(endpoint_text));
  if (isUnspecified(endpoint.address)) endpoint.address = host;
  EXO_ASSIGN(transport::Listener listener, transport::Listener::open(isLoopback(host) && host.find(':') != std::string::npos ? "::1" : "127.0.0.1"));
  EXO_ASSIGN(auto mesh, connect(std::move(listener), kAsker, peer, std::move(endpoint), ticket, cancel));
  EXO_ASSIGN(const auto group, communicator(*mesh));
  EXO_ASSIGN(LinkMeasurement measurement, Asker(*group).measure());
  measurement.transport = transport::name(mesh->peer(kAnswerer).kind());
  return measurement;
}

}  // namespace exo::cluster
