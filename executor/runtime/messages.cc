#include "executor/runtime/messages.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include "executor/transport/waiter.h"

namespace exo::runtime {
namespace {

using transport::Connection;
using transport::Poll;
using transport::Waiter;
using Clock = std::chrono::steady_clock;

constexpr uint32_t kMagic = 0x6d6f7865;   // "exom"
struct PieceHeader {
  uint32_t magic;
  uint32_t piece_bytes;
  uint64_t message_bytes;
};

Error linkError(ErrorCode code, Connection& link, std::string_view what, const std::string& why) {
  return makeError(code, ErrorScope::kLink, what, ": rank ", link.peer(), " (", link.peerName(), ") ", why);
}

/// Waits until done(); an error when the peer is gone, cancelled, or the time is up.
template <class Done>
Status waitFor(Connection& link, const std::atomic<bool>* cancel, std::chrono::milliseconds timeout, std::string_view what, Done&& done) {
  Waiter waiter(timeout, cancel);
  while (!done()) {
    switch (waiter.pause()) {
      case Waiter::Verdict::kGoOn: break;
      case Waiter::Verdict::kCheckPeers: {
        Status status = link.status();
        if (status.ok() || done()) break;   // what arrived before the end counts
        return std::move(status).error().note(std::string("while waiting for ") + std::string(what));
      }
      case Waiter::Verdict::kCancelled: return makeError(ErrorCode::kCancelled, what, ": cancelled");
      case Waiter::Verdict::kTimeout:
        return linkError(ErrorCode::kTimeout, link, what, "did not answer within " + std::to_string(timeout.count()) + " ms");
    }
  }
  return {};
}

/// The same without an end: first as eagerly as between two tokens, then in naps of a few milliseconds (which nobody who
/// types a prompt notices), looking after the peer ten times a second.
template <class Done>
Status idleFor(Connection& link, const std::atomic<bool>* cancel, std::string_view what, Done&& done) {
  constexpr std::chrono::milliseconds kEager{500}, kLongestNap{4}, kCheckEvery{100};
  Status eager = waitFor(link, cancel, kEager, what, done);
  if (eager.ok() || eager.error().code() != ErrorCode::kTimeout) return eager;
  auto next_check = Clock::now();
  for (auto nap = std::chrono::microseconds(500); !done(); nap = std::min<std::chrono::microseconds>(2 * nap, kLongestNap)) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return makeError(ErrorCode::kCancelled, what, ": cancelled");
    if (Clock::now() >= next_check) {
      Status status = link.status();
      if (!status.ok() && !done()) return std::move(status).error().note(std::string("while waiting for ") + std::string(what));
      next_check = Clock::now() + kCheckEvery;
    }
    std::this_thread::sleep_for(nap);
  }
  return {};
}

Status sendPieces(Connection& link, const std::atomic<bool>* cancel, std::span<const std::byte> message,
                  std::chrono::milliseconds timeout, std::string_view what) {
  const size_t room = link.ring().slot_bytes - sizeof(PieceHeader);
  size_t sent = 0;
  do {
    const uint64_t sequence = link.sendSequence();
    EXO_TRY(waitFor(link, cancel, timeout, what, [&] { return link.canSend(sequence); }));
    const size_t piece = std::min(room, message.size() - sent);
    const PieceHeader header{kMagic, static_cast<uint32_t>(piece), message.size()};
    std::byte* slot = link.sendSlot(sequence).data();
    std::memcpy(slot, &header, sizeof(header));
    if (piece > 0) std::memcpy(slot + sizeof(header), message.data() + sent, piece);
    EXO_TRY(link.commit(sequence, sizeof(header) + piece));
    sent += piece;
  } while (sent < message.size());
  return waitFor(link, cancel, timeout, what, [&] { return link.flushed(); });
}

Result<std::span<const std::byte>> nextPiece(Connection& link, const std::atomic<bool>* cancel,
                                             std::optional<std::chrono::milliseconds> timeout, std::string_view what) {
  const uint64_t sequence = link.receiveSequence();
  Poll poll;
  const auto arrived = [&] {
    poll = link.received(sequence);
    return poll.state != Poll::State::kNotYet;
  };
  if (timeout) {
    EXO_TRY(waitFor(link, cancel, *timeout, what, arrived));
  } else {
    EXO_TRY(idleFor(link, cancel, what, arrived));
  }
  if (poll.state == Poll::State::kBroken) {
    EXO_TRY(link.status());
    return linkError(ErrorCode::kPeerLost, link, what, "is gone");
  }
  return link.receiveSlot(sequence).first(poll.bytes);
}

Status receivePieces(Connection& link, const std::atomic<bool>* cancel, std::vector<std::byte>& message, uint64_t max_bytes,
                     std::optional<std::chrono::milliseconds> first_timeout, std::chrono::milliseconds timeout, std::string_view what) {
  message.clear();
  bool first = true;
  uint64_t total = 0;
  while (first || message.size() < total) {
    EXO_ASSIGN(const std::span<const std::byte> piece, nextPiece(link, cancel, first ? first_timeout : std::optional(timeout), what));
    PieceHeader header{};
    if (piece.size() >= sizeof(header)) std::memcpy(&header, piece.data(), sizeof(header));
    if (header.magic != kMagic || header.piece_bytes != piece.size() - sizeof(header))
      return linkError(ErrorCode::kMismatch, link, what, "sent something else (" + std::to_string(piece.size()) + " bytes)");
    if (header.message_bytes > max_bytes)
      return linkError(ErrorCode::kMismatch, link, what, "announced " + std::to_string(header.message_bytes) + " bytes, at most " +
                                                             std::to_string(max_bytes) + " are possible");
    if (first) total = header.message_bytes;
    const bool empty_for_nothing = header.piece_bytes == 0 && total != 0;
    if (header.message_bytes != total || header.piece_bytes > total - message.size() || empty_for_nothing)
      return linkError(ErrorCode::kMismatch, link, what, "sent pieces that do not make a message of " + std::to_string(total) + " bytes");
    const auto payload = piece.subspan(sizeof(header));
    message.insert(message.end(), payload.begin(), payload.end());
    link.release(link.receiveSequence());
    first = false;
  }
  return {};
}

Status requireLink(transport::Mesh& mesh, int peer, std::string_view what) {
  if (mesh.failure()) return *mesh.failure();
  if (mesh.has(peer)) return {};
  return invalid(what, ": there is no link to rank ", peer);
}

Status remember(transport::Mesh& mesh, Status status) {
  if (!status.ok()) mesh.fail(status.error());
  return status;
}

}  // namespace

Status sendMessage(transport::Mesh& mesh, int peer, std::span<const std::byte> message, std::chrono::milliseconds timeout,
                   std::string_view what) {
  EXO_TRY(requireLink(mesh, peer, what));
  return remember(mesh, sendPieces(mesh.peer(peer), mesh.cancel(), message, timeout, what));
}

Status receiveMessage(transport::Mesh& mesh, int peer, std::vector<std::byte>& message, uint64_t max_bytes,
                      std::optional<std::chrono::milliseconds> first_timeout, std::chrono::milliseconds timeout,
                      std::string_view what) {
  EXO_TRY(requireLink(mesh, peer, what));
  return remember(mesh, receivePieces(mesh.peer(peer), mesh.cancel(), message, max_bytes, first_timeout, timeout, what));
}

}  // namespace exo::runtime
