#include "executor/transport/shm_connection.h"

#include <algorithm>

namespace exo::transport {
namespace {

constexpr size_t kLine = 64, kAheadBytes = 256;  // a tag and a small message; larger ones are written as a stream

/// Asks for a line to be written. Compilers take __builtin_prefetch for reading where the processor need not know better.
void own(const std::byte* line) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*line));
#else
  __builtin_prefetch(line, 1);
#endif
}

}  // namespace

size_t ShmConnection::windowBytes(const RingShape& ring) {
  const size_t bytes = sizeof(Credit) + ring.num_slots * sizeof(Flag) + ring.bytes();
  return (bytes + alignof(Credit) - 1) / alignof(Credit) * alignof(Credit);
}

size_t ShmConnection::memoryBytes(const RingShape& ring) { return 2 * windowBytes(ring); }

ShmConnection::Window ShmConnection::windowAt(std::byte* base, const RingShape& ring) {
  auto* credit = reinterpret_cast<Credit*>(base);
  auto* flags = reinterpret_cast<Flag*>(credit + 1);
  return {credit, flags, reinterpret_cast<std::byte*>(flags + ring.num_slots)};
}

ShmConnection::ShmConnection(int peer, std::string peer_name, RingShape ring, End end, FileDescriptor socket, Mapping memory)
    : Connection(peer, std::move(peer_name), ring),
      socket_(std::move(socket)),
      memory_(std::move(memory)),
      arrived_bytes_(ring.num_slots) {
  EXO_CHECK(memory_.size() == memoryBytes(ring));
  std::byte* dialer = memory_.data();
  std::byte* listener = dialer + windowBytes(ring);
  mine_ = windowAt(end == End::kDialer ? dialer : listener, ring);
  theirs_ = windowAt(end == End::kDialer ? listener : dialer, ring);
}

void ShmConnection::breakProtocol(const std::string& why) {
  if (!violation_)
    violation_ = makeError(ErrorCode::kMismatch, ErrorScope::kLink, "rank ", peer(), " (", peerName(), ") broke the protocol: ", why);
}

bool ShmConnection::canSend(uint64_t seq) {
  if (seq - credit_ < ring().num_slots) return true;
  const uint64_t credit = theirs_.credit->released.load(std::memory_order_acquire);
  if (credit < credit_ || credit > sendSequence()) {
    breakProtocol("it released " + std::to_string(credit) + " messages of " + std::to_string(sendSequence()));
    return false;
  }
  credit_ = credit;
  return seq - credit_ < ring().num_slots;
}

std::span<std::byte> ShmConnection::sendSlot(uint64_t seq) {
  return {theirs_.slots + slotIndex(seq) * ring().slot_bytes, ring().slot_bytes};
}

Status ShmConnection::commit(uint64_t seq, size_t bytes) {
  EXO_CHECK(seq == sendSequence() && bytes <= ring().slot_bytes && seq - credit_ < ring().num_slots);
  if (violation_) return *violation_;
  if (lost_) return *lost_;
  Flag& flag = theirs_.flags[slotIndex(seq)];
  flag.bytes.store(bytes, std::memory_order_relaxed);
  flag.arrived.store(seq + 1, std::memory_order_release);
  committedOne(bytes);
  ownNextSlot();
  return {};
}

/// The peer's core had the lines of the slot last: taken back while nobody waits, they cost the next small message nothing.
void ShmConnection::ownNextSlot() {
  if (sendSequence() - credit_ >= ring().num_slots) return;
  const std::byte* slot = theirs_.slots + slotIndex(sendSequence()) * ring().slot_bytes;
  for (size_t at = 0; at < std::min(kAheadBytes, ring().slot_bytes); at += kLine) own(slot + at);
}

Poll ShmConnection::received(uint64_t seq) {
  if (violation_) return {Poll::State::kBroken};
  const Flag& flag = mine_.flags[slotIndex(seq)];
  const uint64_t arrived = flag.arrived.load(std::memory_order_acquire);
  if (arrived < seq + 1) return {lost_ ? Poll::State::kBroken : Poll::State::kNotYet};
  const uint64_t bytes = flag.bytes.load(std::memory_order_relaxed);  // once: the peer could change it after the check
  if (arrived != seq + 1 || bytes > ring().slot_bytes) {
    breakProtocol("message " + std::to_string(seq) + " expected, got " + std::to_string(arrived - 1) + " of " +
              std::to_string(bytes) + " B in slots of " + std::to_string(ring().slot_bytes));
    return {Poll::State::kBroken};
  }
  arrived_bytes_[slotIndex(seq)] = bytes;
  return {Poll::State::kArrived, bytes};
}

std::span<const std::byte> ShmConnection::receiveSlot(uint64_t seq) const {
  return {mine_.slots + slotIndex(seq) * ring().slot_bytes, arrived_bytes_[slotIndex(seq)]};
}

void ShmConnection::release(uint64_t seq) {
  EXO_CHECK(seq == receiveSequence());
  releasedOne();
  mine_.credit->released.store(receiveSequence(), std::memory_order_release);
}

Status ShmConnection::status() {
  if (violation_) return *violation_;
  if (lost_) return *lost_;
  switch (socket_.state()) {
    case PeerSocket::State::kSilent: return {};
    case PeerSocket::State::kSpoke: breakProtocol("it spoke on the silent socket"); return *violation_;
    case PeerSocket::State::kEnded: break;
  }
  lost_ = makeError(ErrorCode::kPeerLost, ErrorScope::kLink, "rank ", peer(), " (", peerName(), ") closed the link or died");
  return *lost_;
}

}  // namespace exo::transport
