#include "executor/cluster/link_probe.h"

#include <glog/logging.h>
#include <openssl/rand.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "executor/cluster/address.h"
#include "executor/transport/mesh.h"
#include "executor/transport/waiter.h"

namespace exo::cluster {
namespace {

using Clock = std::chrono::steady_clock;

// The first byte of every message. kPing is echoed, kData dropped, kEnd answered and the last.
enum class Probe : uint8_t { kPing = 1, kData = 2, kEnd = 3 };

constexpr size_t kSmallBytes = 64;
constexpr int kWarmUp = 50;
constexpr int kPings = 500;
constexpr std::chrono::milliseconds kPingBudget{300};
constexpr std::chrono::milliseconds kStreamTime{300};
constexpr std::chrono::seconds kPatience{5};
constexpr size_t kMaxProbes = 8;
constexpr int kAnswerer = 0, kAsker = 1;  // the higher rank dials

Error interrupted(const transport::Connection& link, transport::Waiter::Verdict verdict) {
  if (verdict == transport::Waiter::Verdict::kCancelled) return makeError(ErrorCode::kCancelled, "measuring the link was cancelled");
  return makeError(ErrorCode::kTimeout, ErrorScope::kLink, "measuring the link: ", link.peerName(), " did not answer for ", kPatience.count(), " s");
}

/// Pauses until `ready` is true; notices a lost peer and the deadline.
template <class Ready>
Status waitUntil(transport::Connection& link, const std::atomic<bool>& cancel, const Ready& ready) {
  transport::Waiter waiter(kPatience, &cancel);
  while (!ready()) {
    link.flushed();
    const auto verdict = waiter.pause();
    if (verdict == transport::Waiter::Verdict::kCheckPeers) {
      EXO_TRY(link.status());
    } else if (verdict != transport::Waiter::Verdict::kGoOn) {
      return interrupted(link, verdict);
    }
  }
  return {};
}

Status send(transport::Connection& link, Probe kind, size_t bytes, const std::atomic<bool>& cancel) {
  const uint64_t seq = link.sendSequence();
  EXO_TRY(waitUntil(link, cancel, [&] { return link.canSend(seq); }));
  const std::span<std::byte> slot = link.sendSlot(seq);
  std::memset(slot.data(), 0, bytes);
  slot[0] = static_cast<std::byte>(kind);
  EXO_TRY(link.commit(seq, bytes));
  link.flushed();
  return {};
}

Result<Probe> receive(transport::Connection& link, const std::atomic<bool>& cancel) {
  const uint64_t seq = link.receiveSequence();
  transport::Poll poll;
  EXO_TRY(waitUntil(link, cancel, [&] {
    poll = link.received(seq);
    return poll.state != transport::Poll::State::kNotYet;
  }));
  if (poll.state == transport::Poll::State::kBroken) {
    EXO_TRY(link.status());
    return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, "the link to ", link.peerName(), " broke while measuring it");
  }
  if (poll.bytes == 0) return makeError(ErrorCode::kMismatch, ErrorScope::kLink, link.peerName(), " sent an empty message while measuring");
  const auto kind = static_cast<Probe>(link.receiveSlot(seq)[0]);
  link.release(seq);
  return kind;
}

Status answer(transport::Connection& link, const std::atomic<bool>& cancel) {
  for (;;) {
    EXO_ASSIGN(const Probe kind, receive(link, cancel));
    if (kind == Probe::kData) continue;
    EXO_TRY(send(link, kind, kSmallBytes, cancel));
    if (kind != Probe::kEnd) continue;
    EXO_TRY(waitUntil(link, cancel, [&] { return link.flushed(); }));
    // The asker hangs up. Were it us, with a credit of its unread, TCP would reset the connection and drop our answer.
    const Clock::time_point deadline = Clock::now() + kPatience;
    while (!cancel && link.status().ok() && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {};
  }
}

Result<Rate> ping(transport::Connection& link, const std::atomic<bool>& cancel) {
  std::vector<double> half_trips_us;
  const Clock::time_point deadline = Clock::now() + kPingBudget;
  for (int i = 0; i < kPings && (half_trips_us.size() < 10 || Clock::now() < deadline); ++i) {
    const Clock::time_point start = Clock::now();
    EXO_TRY(send(link, Probe::kPing, kSmallBytes, cancel));
    EXO_ASSIGN(const Probe reply, receive(link, cancel));
    if (reply != Probe::kPing) return makeError(ErrorCode::kMismatch, ErrorScope::kLink, link.peerName(), " answered a ping with something else");
    if (i >= kWarmUp || Clock::now() >= deadline) half_trips_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / 2);
  }
  std::sort(half_trips_us.begin(), half_trips_us.end());
  // Single hiccups of the scheduler say nothing about the link: the spread is that of the middle half.
  const double median = half_trips_us[half_trips_us.size() / 2];
  return Rate{median, (half_trips_us[half_trips_us.size() * 3 / 4] - half_trips_us[half_trips_us.size() / 4]) / median};
}

Result<double> stream(transport::Connection& link, const std::atomic<bool>& cancel) {
  const Clock::time_point start = Clock::now();
  double bytes = 0;
  while (Clock::now() - start < kStreamTime) {
    EXO_TRY(send(link, Probe::kData, link.ring().slot_bytes, cancel));
    bytes += static_cast<double>(link.ring().slot_bytes);
  }
  EXO_TRY(send(link, Probe::kEnd, kSmallBytes, cancel));
  EXO_ASSIGN(const Probe reply, receive(link, cancel));
  if (reply != Probe::kEnd) return makeError(ErrorCode::kMismatch, ErrorScope::kLink, link.peerName(), " ended the measurement with something else");
  return bytes * 8 / std::chrono::duration<double>(Clock::now() - start).count() / 1e9;
}

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
    Status status = mesh.ok() ? answer((*mesh)->peer(kAsker), cancel_) : Status(mesh.error());
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
  transport::Connection& link = mesh->peer(kAnswerer);
  LinkMeasurement measurement;
  measurement.transport = transport::name(link.kind());
  EXO_ASSIGN(measurement.latency_us, ping(link, cancel));
  EXO_ASSIGN(measurement.bandwidth_gbit_per_s, stream(link, cancel));
  return measurement;
}

}  // namespace exo::cluster
